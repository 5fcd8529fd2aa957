"""Opening requests that are not plain, as ``ServerProtocol`` of the ``websockets`` library takes them.

It names what is wrong with a request, and negotiates extensions. What it says is turned into what a
plain request gives, so that one handshake serves both. No I/O; nothing of it is kept.

Of the library only what it documents: https://websockets.readthedocs.io/en/stable/reference/sansio/.
The one exception is the list ``extensions``, which has no documented name.
"""

import logging
from collections.abc import Sequence
from http import HTTPStatus

from websockets.extensions import ServerExtensionFactory
from websockets.http11 import Request
from websockets.server import ServerProtocol

from .request import OpeningRequest, response, shared_name

_LOGGER = logging.getLogger("uvicorn.error")
_NOT_A_REQUEST = b"A request for a WebSocket must be well formed and have no body."


def negotiate(data: bytes, extensions: Sequence[ServerExtensionFactory]) -> OpeningRequest | bytes:
    """The request, with what of these extensions was agreed; or the whole response that refuses it."""
    protocol = ServerProtocol(extensions=extensions, logger=_LOGGER)
    protocol.receive_data(data)
    event = next(iter(protocol.events_received()), None)
    if not isinstance(event, Request):
        too_long = b"".join(protocol.data_to_send())
        return too_long or response(HTTPStatus.BAD_REQUEST, _NOT_A_REQUEST)
    answer = protocol.accept(event)
    if answer.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
        protocol.send_response(answer)
        return b"".join(protocol.data_to_send())
    offered = event.headers.get_all("Sec-WebSocket-Protocol")
    agreed = answer.headers.get_all("Sec-WebSocket-Extensions")
    return OpeningRequest(
        target=event.path,
        headers=[
            (shared_name(name.encode()), value.encode("latin-1"))
            for name, value in event.headers.raw_items()
        ],
        key=event.headers["Sec-WebSocket-Key"],
        subprotocols=[one.strip() for value in offered for one in value.split(",")],
        offers_extensions=bool(event.headers.get_all("Sec-WebSocket-Extensions")),
        agreement=[(b"sec-websocket-extensions", value.encode()) for value in agreed],
        extensions=protocol.extensions,
    )
