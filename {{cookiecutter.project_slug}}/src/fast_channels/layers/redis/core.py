"""The queue layer under the module name that it has in fast-channels and channels_redis."""

from . import RedisChannelLayer

__all__ = ["RedisChannelLayer"]
