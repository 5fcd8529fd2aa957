"""HTTP consumers that more than one test module drives."""

from typing import Any

from fast_channels.consumer import AsyncHttpConsumer

SCOPE = {"type": "http", "path": "/"}
LEAVE = {"type": "http.disconnect"}


class Noting(AsyncHttpConsumer):
    """Counts its disconnects in a list of the test's."""

    def __init__(self, ends: list[str] | None = None) -> None:
        self.ends = [] if ends is None else ends

    async def disconnect(self) -> None:
        self.ends.append("disconnect")


class Echo(Noting):
    async def handle(self, body: bytes) -> None:
        await self.send_response(200, body, headers=[("x-length", str(len(body)))])


def request(body: bytes = b"", *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}
