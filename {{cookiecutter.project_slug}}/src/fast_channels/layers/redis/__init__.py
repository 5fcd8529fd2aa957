"""Channel layers on Redis or Valkey, standalone or behind Sentinel."""

from .pubsub import RedisPubSubChannelLayer
from .queue import RedisChannelLayer

__all__ = ["RedisChannelLayer", "RedisPubSubChannelLayer"]
