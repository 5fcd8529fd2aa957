"""The queue layer under the module name that it has in fast-channels and channels_redis."""

from .queue import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
