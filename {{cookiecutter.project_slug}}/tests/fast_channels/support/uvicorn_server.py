"""A uvicorn server inside the test's own loop, on a free port of 127.0.0.1."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import uvicorn

from fast_channels.type_defs import ASGIApplication

from .expect import eventually

# A name that uvicorn knows, or a protocol class.
Protocol: TypeAlias = Any

DEFAULT_PROTOCOL: Protocol = "auto"  # of tests that do not name one; see the fixture each_protocol


@asynccontextmanager
async def serving(
    app: ASGIApplication, *, ws: Protocol = None, **options: Any
) -> AsyncIterator[str]:
    """Serve `app`; gives host:port. At the end the server closes its connections and returns.

    ``ws`` and further options are those of ``uvicorn.Config``.
    """
    options.setdefault("timeout_graceful_shutdown", 5)
    config = uvicorn.Config(
        app, ws=ws or DEFAULT_PROTOCOL, lifespan="off", log_config=None, **options
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        running = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await eventually(lambda: server.started or running.done(), "uvicorn to start")
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
