"""The channel layers of the app.

"default" carries events to sockets by publish/subscribe: at most once, lowest latency. Nothing
is kept: a page that was away is told that it may have missed something.
"jobs" is a queue: what a worker takes from it is acknowledged after its handler.
Without REDIS_URL both live in this process, whose memory keeps what GROUP_HISTORY says: Redis
does not.
"""

import re

from fast_channels.layers import (
    BaseChannelLayer,
    History,
    InMemoryChannelLayer,
    RedisChannelLayer,
    RedisPubSubChannelLayer,
)

from .settings import get_settings

# What a page gets that was away, or is new: messages at least, and seconds after the last one.
DAY = 24 * 60 * 60
GROUP_HISTORY: dict[str | re.Pattern[str], History] = {
    "room.*": History(1000, 7 * DAY),
    "job.*": History(1000, DAY),
    "jobs.*": History(50, DAY),
}
# What the workers and the limit of jobs go by, and which sessions were signed out.
JOB_HISTORY: dict[str | re.Pattern[str], History] = {
    "job.*": History(100, DAY),
    "jobs.*": History(1000, DAY),
    "signed-out.*": History(100, 14 * DAY),
}
# A job waits up to a day for a worker; a sender is refused (ChannelFull) beyond a thousand.
JOB_EXPIRY = DAY
MOST_JOBS = 1000


def make_layers() -> dict[str, BaseChannelLayer]:
    """By alias, and not opened yet."""
    settings = get_settings()
    if not settings.redis_url:
        jobs = InMemoryChannelLayer(
            expiry=JOB_EXPIRY, capacity=MOST_JOBS, group_history=JOB_HISTORY
        )
        return {"default": InMemoryChannelLayer(group_history=GROUP_HISTORY), "jobs": jobs}
    hosts = [settings.redis_url]
    return {
        "default": RedisPubSubChannelLayer(hosts, prefix=f"{settings.app_name}.events"),
        "jobs": RedisChannelLayer(
            hosts,
            prefix=f"{settings.app_name}.jobs",
            expiry=JOB_EXPIRY,
            capacity=MOST_JOBS,
            group_history=JOB_HISTORY,
            lease=settings.job_lease_seconds,
        ),
    }
