"""The HTTP communicator."""

import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route, Router

from fast_channels.consumer.http import AsyncHttpConsumer
from fast_channels.testing import (
    HttpCommunicator,
    UnexpectedEvent,
)
from fast_channels.type_defs import Receive, Scope, Send

from ..support.asgi_apps import no_task_left, replying, silent

__all__ = ["no_task_left"]


class TestHttp:
    async def test_response(self) -> None:
        """Status, headers as pairs of bytes, and body."""
        app = FastAPI()

        @app.post("/items/{item}")
        async def create(item: str, request: Request) -> PlainTextResponse:
            text = f"{item} {request.query_params['q']} {(await request.body()).decode()}"
            return PlainTextResponse(text, status_code=201, headers={"X-Made": "yes"})

        response = await HttpCommunicator(
            app, "/items/7?q=x", method="post", body="käse", headers=[("Accept", "*/*")]
        ).get_response()
        assert response["status"] == 201
        assert (b"x-made", b"yes") in response["headers"]
        assert response["body"].decode() == "7 x käse"

    async def test_streamed_body_is_joined(self) -> None:
        """A response in parts is one body."""

        async def stream(request: Request) -> StreamingResponse:
            return StreamingResponse(iter([b"one ", b"two ", b"three"]))

        app = Router([Route("/", stream)])
        response = await HttpCommunicator(app, "/").get_response()
        assert response["body"] == b"one two three"

    async def test_consumer_class(self) -> None:
        """An HTTP consumer class is driven as it is."""

        class Hello(AsyncHttpConsumer):
            async def handle(self, body: bytes) -> None:
                await self.send_response(200, b"hello " + body, headers=[(b"x-a", b"b")])

        response = await HttpCommunicator(Hello, "/", method="PUT", body=b"you").get_response()
        assert response == {"status": 200, "headers": [(b"x-a", b"b")], "body": b"hello you"}

    async def test_request_before_response(self) -> None:
        """`send_request()` alone sends once, and the test can look at each event."""
        events = (
            {"type": "http.response.start", "status": 204},
            {"type": "http.response.body"},
        )
        communicator = HttpCommunicator(replying(*events), "/")
        await communicator.send_request()
        assert (await communicator.receive_output())["status"] == 204
        assert (await communicator.receive_output())["type"] == "http.response.body"
        await communicator.send_input({"type": "http.disconnect"})
        await communicator.wait()

    async def test_request_is_not_sent_twice(self) -> None:
        """`get_response()` after `send_request()` is one request."""
        events = (
            {"type": "http.response.start", "status": 204},
            {"type": "http.response.body"},
        )
        communicator = HttpCommunicator(replying(*events), "/")
        await communicator.send_request()
        response = await communicator.get_response()
        assert response == {"status": 204, "headers": [], "body": b""}

    async def test_error_of_the_application(self) -> None:
        """An exception in the middle of a response is raised to the test."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200})
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await HttpCommunicator(application, "/").get_response()

    async def test_body_without_start_is_unexpected(self) -> None:
        """Events out of order are shown."""
        communicator = HttpCommunicator(replying({"type": "http.response.body"}), "/")
        with pytest.raises(UnexpectedEvent, match=r"http\.response\.start"):
            await communicator.get_response()
        await communicator.stop()

    async def test_missing_response_is_a_timeout(self) -> None:
        """A silent application is a TimeoutError that names what was waited for."""
        communicator = HttpCommunicator(silent, "/slow")
        with pytest.raises(TimeoutError, match=r"http\.response\.start .* at /slow"):
            await communicator.get_response(timeout=0.01)
        await communicator.stop()
