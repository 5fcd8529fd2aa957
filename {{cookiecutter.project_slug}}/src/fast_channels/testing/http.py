"""An HTTP request in a test."""

from collections.abc import Mapping
from typing import TypedDict

from ..type_defs import Application, Event, Headers, HeadersInput
from .application import ApplicationCommunicator
from .scopes import connection_scope
from .server_rules import HttpRules


class HttpResponse(TypedDict):
    """`body` is the whole of it, also where the application sent it in parts."""

    status: int
    headers: Headers
    body: bytes


class HttpCommunicator(ApplicationCommunicator):
    """One HTTP request to `application`.

        response = await HttpCommunicator(app, "/rooms?limit=5").get_response()
        assert response["status"] == 200

    `body` is bytes, or str in UTF-8; `headers` are pairs of str or bytes, or a mapping, and are sent
    as they are: no Host or Content-Length is added.
    """

    def __init__(
        self,
        application: Application,
        path: str,
        *,
        method: str = "GET",
        body: bytes | str = b"",
        headers: HeadersInput | Mapping[str, str] | None = None,
    ) -> None:
        scope = connection_scope(
            path, headers, spec_version="2.3", type="http", scheme="http", method=method.upper()
        )
        super().__init__(application, scope)
        self._body = body.encode() if isinstance(body, str) else body
        self._request_sent = False
        self._rules = HttpRules(scope["method"])

    async def send_request(self) -> None:
        """Send the request without waiting for the response; a second call does nothing."""
        if not self._request_sent:
            self._request_sent = True
            await self.send_input({"type": "http.request", "body": self._body, "more_body": False})

    async def get_response(self, timeout: float = 1) -> HttpResponse:
        """The whole response, once the application has returned.

        `timeout` is for each part of it, and for the application to return after the last.
        """
        await self.send_request()
        start = await self._next_output(timeout, "http.response.start")
        body = await self._receive_body(timeout)
        # As a server tells the application once the response is out.
        self._input.put_nowait({"type": "http.disconnect"})
        await self.wait(timeout)
        return {
            "status": start["status"],
            "headers": list(start.get("headers") or ()),
            "body": body,
        }

    async def _receive_body(self, timeout: float) -> bytes:
        parts: list[bytes] = []
        while True:
            event = await self._next_output(timeout, "http.response.body")
            parts.append(bytes(event.get("body", b"")))
            if not event.get("more_body", False):
                return b"".join(parts)

    def _sent(self, event: Event) -> None:
        self._rules.check(event)
        super()._sent(event)
