"""Channel layers on Redis or Valkey: on single servers, behind Sentinels, or in a Cluster."""

from .pubsub import RedisPubSubChannelLayer
from .queue import RedisChannelLayer

__all__ = ["RedisChannelLayer", "RedisPubSubChannelLayer"]
