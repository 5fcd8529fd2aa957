"""The channel layers of the app.

"default" carries events to sockets by publish/subscribe: at most once, lowest latency.
"jobs" is a queue: what a worker takes from it is acknowledged after its handler.
Without REDIS_URL both live in this process.
"""

from fast_channels.layers import (
    BaseChannelLayer,
    InMemoryChannelLayer,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
)

from .settings import get_settings

# A job waits up to a day for a worker; a sender is refused (ChannelFull) beyond a thousand.
JOB_EXPIRY = 24 * 60 * 60
MOST_JOBS = 1000


def make_layers() -> dict[str, BaseChannelLayer]:
    """By alias, and not opened yet."""
    settings = get_settings()
    if not settings.redis_url:
        jobs = InMemoryChannelLayer(expiry=JOB_EXPIRY, capacity=MOST_JOBS)
        return {"default": InMemoryChannelLayer(), "jobs": jobs}
    hosts = [settings.redis_url]
    return {
        "default": RedisPubSubChannelLayer(hosts, prefix=f"{settings.app_name}.events"),
        "jobs": RedisChannelLayer(
            hosts,
            prefix=f"{settings.app_name}.jobs",
            expiry=JOB_EXPIRY,
            capacity=MOST_JOBS,
            lease=settings.job_lease_seconds,
        ),
    }
