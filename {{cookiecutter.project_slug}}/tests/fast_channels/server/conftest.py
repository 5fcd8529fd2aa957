"""Echo servers that all cases of a module share."""

from collections.abc import Iterator

import pytest

from fast_channels.server import CompressedWebSocketProtocol

from ..support.raw_websocket import Echo, serving_in_thread
from ..support.wire_cases import Server


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def echo_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """The tuned protocol, on each loop; messages of at most 100,000 bytes."""
    app = Echo()
    with serving_in_thread(app, loop=request.param, ws_max_size=100_000) as address:
        yield Server(address, app)


@pytest.fixture(scope="module")
def deflating_server() -> Iterator[Server]:
    """The compressing variant; messages of at most 100,000 bytes."""
    app = Echo()
    protocol = CompressedWebSocketProtocol
    with serving_in_thread(app, ws=protocol, ws_max_size=100_000) as address:
        yield Server(address, app)
