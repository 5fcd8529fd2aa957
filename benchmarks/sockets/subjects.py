"""Who can be a server, and how each is started.

A subject's name is that of its application, then perhaps a dash and what is special: the socket
protocol (``candidate-tuned``) or the server that runs it (``candidate-granian``).
"""

from collections.abc import Mapping

from ..case import Setting
from .web import Server

APPLICATIONS = {
    "candidate": "fast_channels_app",
    "fast_channels": "fast_channels_app",
    "channels_redis": "django_channels",
    "litestar": "litestar_channels",
    "broadcaster": "broadcaster_app",
    "socketio": "socketio_app",
    "raw": "raw",
    "floor": "floor",
    "wire": "wire",
}
TUNED = "fast_channels.server:WebSocketProtocol"

SUBJECTS = ("candidate", "candidate-tuned", *(name for name in APPLICATIONS if name != "candidate"))
OURS = ("candidate", "candidate-tuned")
LAYERED = ("candidate", "candidate-tuned", "fast_channels", "channels_redis")
# What has no layer over Redis, or none that keeps messages, is not asked for it.
LACKS = {"pubsub": ("wire",), "queue": ("socketio", "raw", "wire")}


def dialect(subject: str) -> str:
    return "socketio" if subject == "socketio" else "plain"


def command(subject: str, loop: str) -> list[str]:
    """What follows ``python -m``: uvicorn at its defaults, or the server that the subject names."""
    name, _, special = subject.partition("-")
    if name == "wire":
        return ["benchmarks.sockets.servers.wire", "{port}"]
    app = f"benchmarks.sockets.servers.{APPLICATIONS[name]}:app"
    if special == "granian":
        options = ["--interface", "asgi", "--port", "{port}", "--loop", "uvloop", "--log-level"]
        return ["granian", *options, "warning", app]
    if special.startswith("hypercorn"):
        worker = special.partition("-")[2]  # asyncio or uvloop
        options = ["--bind", "127.0.0.1:{port}", "--worker-class", worker, "--log-level"]
        return ["hypercorn", *options, "warning", app]
    loop = special if special == "asyncio" else loop
    options = ["--port", "{port}", "--loop", loop, "--log-level", "warning", "--no-access-log"]
    tuned = ["--ws", TUNED] if special == "tuned" else []
    return ["uvicorn", *options, *tuned, app]


def server(setting: Setting, order: Mapping[str, str]) -> Server:
    """Of the setting's subject; ``order`` holds further variables of servers/order.py."""
    env = {
        **setting.environment(),
        "BENCH_KIND": setting.kind,
        "BENCH_REDIS": setting.redis.url,
        **order,
    }
    return Server(command(setting.subject, setting.loop), env, setting.cpus.subject)
