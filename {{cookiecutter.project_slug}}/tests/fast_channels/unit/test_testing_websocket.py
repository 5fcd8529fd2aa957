"""The WebSocket communicator: connecting, frames, and the end."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket

from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.testing import (
    ApplicationCommunicator,
    ConnectionRefused,
    UnexpectedEvent,
    WebsocketCommunicator,
)
from fast_channels.type_defs import Receive, Scope, Send

from ..support.asgi_apps import Echo, no_task_left, replying, silent, silent_after_accept

__all__ = ["no_task_left"]


class TestConnect:
    async def test_chosen_subprotocol(self) -> None:
        """An accept returns True and the subprotocol."""
        application = replying({"type": "websocket.accept", "subprotocol": "v1"})
        client = WebsocketCommunicator(application, "/", subprotocols=["v1"])
        assert await client.connect() == (True, "v1")
        await client.disconnect()

    @pytest.mark.parametrize(("event", "code"), [({}, 1000), ({"code": 4003}, 4003)])
    async def test_refusal_gives_the_close_code(self, event: dict[str, int], code: int) -> None:
        """A close before the accept returns False and the code, 1000 by default."""
        client = WebsocketCommunicator(replying({"type": "websocket.close", **event}), "/")
        assert await client.connect() == (False, code)
        await client.wait()

    async def test_refusal_by_an_http_response_gives_its_status(self) -> None:
        """A denial response of the application returns False and the HTTP status."""
        app = FastAPI()

        @app.websocket("/")
        async def private(socket: WebSocket) -> None:
            raise HTTPException(401)

        client = WebsocketCommunicator(app, "/")
        assert await client.connect() == (False, 401)
        await client.disconnect()

    async def test_response_headers(self) -> None:
        """Those of an accept and of a denial response are there after `connect()`."""
        application = replying({"type": "websocket.accept", "headers": [(b"X-A", b"1")]})
        client = WebsocketCommunicator(application, "/")
        assert client.response_headers == []
        await client.connect()
        assert client.response_headers == [(b"X-A", b"1")]
        await client.disconnect()

        app = FastAPI()

        @app.websocket("/")
        async def private(socket: WebSocket) -> None:
            raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})

        denied = WebsocketCommunicator(app, "/")
        await denied.connect()
        assert (b"www-authenticate", b"Bearer") in denied.response_headers

    async def test_unknown_path_is_refused(self) -> None:
        """A router without a route for the path refuses."""
        client = WebsocketCommunicator(FastAPI(), "/nowhere")
        assert await client.connect() == (False, 1000)
        await client.disconnect()

    async def test_with_block_raises_on_refusal(self) -> None:
        """`async with` raises ConnectionRefused with the code, and ends the application."""
        client = WebsocketCommunicator(replying({"type": "websocket.close", "code": 4003}), "/x")
        with pytest.raises(ConnectionRefused, match="/x with code 4003") as caught:
            async with client:
                pytest.fail("entered")
        assert caught.value.code == 4003

    async def test_no_answer_is_a_timeout_that_says_so(self) -> None:
        """A silent application is a TimeoutError that names what was waited for, and where."""
        client = WebsocketCommunicator(silent, "/quiet")
        with pytest.raises(TimeoutError, match=r"0\.01 s for websocket\.accept .* at /quiet"):
            await client.connect(timeout=0.01)
        await client.stop()

    async def test_another_event_is_unexpected(self) -> None:
        """A frame before the accept is an error that shows it."""
        client = WebsocketCommunicator(replying({"type": "websocket.send", "text": "early"}), "/")
        with pytest.raises(UnexpectedEvent, match="early"):
            await client.connect()
        await client.stop()


class TestFrames:
    async def test_json(self) -> None:
        """JSON goes out and comes in as text frames."""
        async with WebsocketCommunicator(Echo, "/") as client:
            await client.send_json_to({"a": [1, None, "ü"]})
            assert await client.receive_json_from() == {"a": [1, None, "ü"]}

    async def test_json_in_a_binary_frame_is_unexpected(self) -> None:
        """`receive_json_from` takes text only."""
        async with WebsocketCommunicator(Echo, "/") as client:
            await client.send_to(bytes_data=b"{}")
            with pytest.raises(UnexpectedEvent, match="text frame"):
                await client.receive_json_from()

    async def test_empty_frames_are_frames(self) -> None:
        """An empty text and empty bytes arrive as they are."""
        async with WebsocketCommunicator(Echo, "/") as client:
            await client.send_to(text_data="")
            assert await client.receive_from() == ""
            await client.send_to(bytes_data=b"")
            assert await client.receive_from() == b""

    @pytest.mark.parametrize(
        ("frame", "error"),
        [
            ({}, ValueError),
            ({"text_data": "a", "bytes_data": b"a"}, ValueError),
            ({"text_data": b"a"}, TypeError),
            ({"bytes_data": "a"}, TypeError),
        ],
    )
    async def test_wrong_frames_are_refused(
        self, frame: dict[str, Any], error: type[Exception]
    ) -> None:
        """Exactly one of text and bytes, of its own type."""
        async with WebsocketCommunicator(Echo, "/") as client:
            with pytest.raises(error):
                await client.send_to(**frame)

    async def test_wrong_frames_of_the_application_are_shown(self) -> None:
        """Bytes in the place of text, as no server would send, are an UnexpectedEvent."""
        events = {"type": "websocket.accept"}, {"type": "websocket.send", "text": b"bytes"}
        async with WebsocketCommunicator(replying(*events), "/") as client:
            with pytest.raises(UnexpectedEvent, match="either text"):
                await client.receive_from()

    async def test_frames_keep_their_order(self) -> None:
        """Many frames sent before the first is read come back in order."""
        async with WebsocketCommunicator(Echo, "/") as client:
            for number in range(100):
                await client.send_to(text_data=str(number))
            assert [await client.receive_from() for _ in range(100)] == [str(n) for n in range(100)]

    async def test_nothing(self) -> None:
        """`receive_nothing` tells silence from a frame, and keeps the frame."""
        async with WebsocketCommunicator(Echo, "/") as client:
            assert await client.receive_nothing(timeout=0.01)
            await client.send_to(text_data="kept")
            assert not await client.receive_nothing()
            assert await client.receive_from() == "kept"

    async def test_application_survives_a_timeout(self) -> None:
        """A receive that times out does not end the application."""
        async with WebsocketCommunicator(Echo, "/") as client:
            with pytest.raises(TimeoutError, match="for a WebSocket frame"):
                await client.receive_from(timeout=0.01)
            await client.send_to(text_data="still here")
            assert await client.receive_from() == "still here"


class TestEnd:
    async def test_disconnect_tells_the_code(self) -> None:
        """The application sees the client's close code, and has returned afterwards."""
        codes = []

        class Leaving(AsyncWebsocketConsumer):
            async def disconnect(self, code: int) -> None:
                codes.append(code)

        client = WebsocketCommunicator(Leaving, "/")
        await client.connect()
        await client.disconnect(code=1001)
        await client.disconnect()
        assert codes == [1001]

    async def test_close_by_the_application(self) -> None:
        """Its close is an event with a code, and its own disconnect() follows with that code."""
        codes = []

        class Closing(Echo):
            async def disconnect(self, code: int) -> None:
                codes.append(code)

        client = WebsocketCommunicator(Closing, "/")
        await client.connect()
        await client.send_to(text_data="close")
        event = await client.receive_output()
        assert (event["type"], event["code"]) == ("websocket.close", 4001)
        await client.wait()
        assert codes == [4001]
        await client.disconnect()

    async def test_close_instead_of_a_frame_is_unexpected(self) -> None:
        """A test that waits for a frame and gets a close is told the code."""
        async with WebsocketCommunicator(Echo, "/") as client:
            await client.send_to(text_data="close")
            with pytest.raises(UnexpectedEvent, match="4001"):
                await client.receive_from()

    async def test_close_code_that_no_server_sends(self) -> None:
        """A close code that is not an int is an error in the application's send()."""
        events = {"type": "websocket.accept"}, {"type": "websocket.close", "code": True}
        client = WebsocketCommunicator(replying(*events), "/")
        assert await client.connect() == (True, None)
        with pytest.raises(UnexpectedEvent, match="a close code"):
            await client.wait()

    async def test_late_application_is_cancelled(self) -> None:
        """An application that ignores the disconnect is a TimeoutError, and does not stay."""
        client = WebsocketCommunicator(silent, "/")
        await client.send_input({"type": "websocket.connect"})
        with pytest.raises(TimeoutError, match="to return"):
            await client.disconnect(timeout=0.01)

    async def test_stop_ends_a_running_application(self) -> None:
        """`stop()` cancels, and waits for the clean-up."""
        cleaned = []

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                cleaned.append(True)

        communicator = ApplicationCommunicator(application, {"type": "test"})
        assert await communicator.receive_nothing(timeout=0)
        await communicator.receive_nothing(timeout=0.001)
        await communicator.stop()
        assert cleaned == [True]

    async def test_never_started(self) -> None:
        """A communicator that was not used can be stopped."""
        await ApplicationCommunicator(silent, {"type": "test"}).stop()

    async def test_with_block_stops_the_application(self) -> None:
        """`async with` on the bare communicator ends what runs."""
        async with ApplicationCommunicator(silent, {"type": "test"}) as communicator:
            await communicator.send_input({"type": "test.event"})

    async def test_failing_test_shows_its_own_failure(self) -> None:
        """What fails inside `async with` is not hidden by the application's end."""
        with pytest.raises(LookupError, match="the test's own"):
            async with WebsocketCommunicator(silent_after_accept, "/"):
                raise LookupError("the test's own")
