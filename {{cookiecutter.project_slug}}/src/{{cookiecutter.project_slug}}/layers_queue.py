"""The channel layers of the app.

"default" carries events to sockets through a log in Redis: a broken connection loses none.
"jobs" is a queue: what a worker takes from it is acknowledged after its handler.
Without REDIS_URL both live in this process.
"""

from typing import TypedDict

from fast_channels.layers import (
    BaseChannelLayer,
    InMemoryChannelLayer,
    RedisChannelLayer,
    register_channel_layer,
)

from .settings import Settings


class Limits(TypedDict):
    expiry: float  # seconds
    capacity: int  # messages


# A job waits up to a day for a worker; a sender is refused (ChannelFull) beyond a thousand.
JOBS: Limits = {"expiry": 24 * 60 * 60, "capacity": 1000}


def make_layers(settings: Settings) -> dict[str, BaseChannelLayer]:
    if not settings.redis_url:
        return {"default": InMemoryChannelLayer(), "jobs": InMemoryChannelLayer(**JOBS)}
    hosts = [settings.redis_url]
    return {
        "default": RedisChannelLayer(hosts, prefix=f"{settings.app_name}.events"),
        "jobs": RedisChannelLayer(
            hosts,
            prefix=f"{settings.app_name}.jobs",
            lease=settings.job_lease_seconds,
            **JOBS,
        ),
    }


def register_layers(settings: Settings) -> list[BaseChannelLayer]:
    """Make the layers known to consumers by their aliases."""
    layers = make_layers(settings)
    for alias, layer in layers.items():
        register_channel_layer(alias, layer)
    return list(layers.values())
