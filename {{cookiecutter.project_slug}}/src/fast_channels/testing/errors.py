"""What a communicator raises about the application that it drives.

FastChannelsError, AssertionError
├── ConnectionRefused    `async with WebsocketCommunicator(…)`: the application refused
└── UnexpectedEvent      the application sent what the test, or a server, does not take
"""

from ..exceptions import FastChannelsError
from ..type_defs import Event


class ConnectionRefused(FastChannelsError, AssertionError):
    """The application refused the WebSocket. `code` is as `WebsocketCommunicator.connect` gives."""

    def __init__(self, path: str, code: int | None) -> None:
        super().__init__(f"the application refused the WebSocket {path} with code {code}")
        self.code = code


class UnexpectedEvent(FastChannelsError, AssertionError):
    """`event` is what the application sent instead."""

    def __init__(self, expected: str, event: Event) -> None:
        super().__init__(f"expected {expected} from the application, but it sent {event!r:.500}")
        self.event = event
