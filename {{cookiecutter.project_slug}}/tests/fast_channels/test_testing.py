"""The communicators: what a test sees of an application, and what the application sees."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute

from fast_channels.consumer.http import AsyncHttpConsumer
from fast_channels.consumer.websocket import AsyncWebsocketConsumer
from fast_channels.testing import (
    ApplicationCommunicator,
    ConnectionRefused,
    HttpCommunicator,
    UnexpectedEvent,
    WebsocketCommunicator,
)
from fast_channels.type_defs import Receive, Scope, Send


class Echo(AsyncWebsocketConsumer):
    """Returns each frame; closes with 4001 when it is told to; `crash` raises."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data == "close":
            await self.close(4001)
        elif text_data == "crash":
            raise ZeroDivisionError
        else:
            await self.send(text_data=text_data, bytes_data=bytes_data)


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """A WebSocket application without any library, which repeats frames until the end."""
    await receive()
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})


async def silent(scope: Scope, receive: Receive, send: Send) -> None:
    """Never sends, never returns."""
    await asyncio.Event().wait()


async def failing(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts, then fails."""
    await receive()
    await send({"type": "websocket.accept"})
    raise ZeroDivisionError("the application's own")


def replying(*events: dict[str, Any]) -> Any:
    """An application that answers the first event with `events`, then waits for the end."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        for event in events:
            await send(event)
        await receive()

    return application


@pytest.fixture(autouse=True)
async def no_task_left() -> AsyncIterator[None]:
    """No test here leaves a task behind."""
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() - before <= {asyncio.current_task()}


class TestApplications:
    """What can be driven."""

    @pytest.mark.parametrize("application", [Echo, Echo.as_asgi(), echo], ids=str)
    async def test_consumer_class_its_asgi_form_and_functions(self, application: Any) -> None:
        """A consumer class, its `as_asgi()` and a plain function behave alike."""
        client = WebsocketCommunicator(application, "/echo")
        assert await client.connect() == (True, None)
        await client.send_to(text_data="hello")
        assert await client.receive_from() == "hello"
        await client.send_to(bytes_data=b"\x00\x01")
        assert await client.receive_from() == b"\x00\x01"
        await client.disconnect()

    async def test_fastapi_application(self) -> None:
        """A FastAPI app is reached by its paths, with parameters and query."""
        app = FastAPI()

        @app.websocket("/rooms/{room}")
        async def room(socket: WebSocket, room: str, name: str) -> None:
            await socket.accept()
            await socket.send_json({"room": room, "name": name, "host": socket.url.hostname})

        async with WebsocketCommunicator(app, "/rooms/a%20b?name=J%C3%BCrgen") as client:
            assert await client.receive_json_from() == {
                "room": "a b",
                "name": "Jürgen",
                "host": "testserver",
            }

    async def test_router_with_a_mounted_consumer(self) -> None:
        """A router passes a connection on to the consumer that it mounts."""
        router = Router([Mount("/ws", Router([WebSocketRoute("/echo", Echo.as_asgi())]))])
        async with WebsocketCommunicator(router, "/ws/echo") as client:
            await client.send_to(text_data="through")
            assert await client.receive_from() == "through"

    @pytest.mark.parametrize("wrong", [object(), object, None, "app"], ids=repr)
    def test_anything_else_is_refused(self, wrong: Any) -> None:
        """What is no application is a TypeError that shows it, at once."""
        with pytest.raises(TypeError, match="an ASGI application or a consumer class"):
            WebsocketCommunicator(wrong, "/")


class TestScope:
    """What the application is told about the connection."""

    def test_websocket(self) -> None:
        """A WebSocket scope is complete, as uvicorn fills it."""
        communicator = WebsocketCommunicator(
            echo,
            "/ws/caf%C3%A9/?q=1&r=%20",
            headers=[("Origin", "http://a"), (b"X-Raw", b"\xff")],
            subprotocols=["v2", "v1"],
        )
        assert communicator.scope == {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": "/ws/café/",
            "raw_path": b"/ws/caf%C3%A9/",
            "query_string": b"q=1&r=%20",
            "root_path": "",
            "headers": [(b"origin", b"http://a"), (b"x-raw", b"\xff")],
            "subprotocols": ["v2", "v1"],
            "client": ("testclient", 50000),
            "server": ("testserver", 80),
            "state": {},
            "extensions": {"websocket.http.response": {}},
        }

    def test_http(self) -> None:
        """An HTTP scope is complete; the method is in capitals."""
        communicator = HttpCommunicator(echo, "/a b?c=d e", method="post", headers={"X-A": "ü"})
        assert communicator.scope == {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/a b",
            "raw_path": b"/a%20b",
            "query_string": b"c=d%20e",
            "root_path": "",
            "headers": [(b"x-a", b"\xfc")],
            "client": ("testclient", 50000),
            "server": ("testserver", 80),
            "state": {},
        }

    def test_spec_version_and_non_ascii_path(self) -> None:
        """`spec_version` is passed on, and a path may be written as people read it."""
        scope = WebsocketCommunicator(echo, "/zürich?ö=1#part", spec_version="2.1").scope
        assert scope["asgi"]["spec_version"] == "2.1"
        assert (scope["path"], scope["raw_path"]) == ("/zürich", b"/z%C3%BCrich")
        assert scope["query_string"] == b"%C3%B6=1"

    async def test_scope_can_be_completed_before_the_start(self) -> None:
        """What a test puts into `scope` before the first call reaches the application."""
        seen = {}

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            seen.update(scope)

        communicator = WebsocketCommunicator(application, "/")
        communicator.scope["user"] = "Ann"
        await communicator.wait()
        assert seen["user"] == "Ann"


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
        """Who waits for a frame and gets a close is told the code."""
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


async def silent_after_accept(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    await asyncio.Event().wait()


class TestErrorsOfTheApplication:
    async def test_events_come_before_the_error(self) -> None:
        """What was sent before the failure is received, then the failure is raised."""
        client = WebsocketCommunicator(failing, "/")
        assert await client.connect() == (True, None)
        with pytest.raises(ZeroDivisionError, match="the application's own"):
            await client.receive_output()

    @pytest.mark.parametrize("method", ["wait", "receive_nothing", "disconnect", "stop"])
    async def test_every_way_shows_the_error(self, method: str) -> None:
        """Whatever the test does next, it meets the exception."""
        client = WebsocketCommunicator(failing, "/")
        await client.connect()
        await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            await getattr(client, method)()

    async def test_sending_shows_the_error(self) -> None:
        """A frame to an application that has failed raises its exception."""
        client = WebsocketCommunicator(failing, "/")
        await client.connect()
        with pytest.raises(ZeroDivisionError):
            await client.wait()
        with pytest.raises(ZeroDivisionError):
            await client.send_to(text_data="hello?")

    async def test_disconnect_is_silent_about_a_known_error(self) -> None:
        """Once it was raised, `disconnect()` just returns."""
        client = WebsocketCommunicator(failing, "/")
        await client.connect()
        with pytest.raises(ZeroDivisionError):
            await client.wait()
        await client.disconnect()

    async def test_end_of_a_with_block_shows_the_error(self) -> None:
        """A failure that the test did not meet is raised at the end of `async with`."""
        with pytest.raises(ZeroDivisionError):
            async with WebsocketCommunicator(failing, "/"):
                await asyncio.sleep(0)

    async def test_failing_handler_of_a_consumer(self) -> None:
        """An exception in `receive()` of a consumer reaches the test after the close 1011."""
        client = WebsocketCommunicator(Echo, "/")
        await client.connect()
        await client.send_to(text_data="crash")
        assert (await client.receive_output())["code"] == 1011
        with pytest.raises(ZeroDivisionError):
            await client.wait()

    async def test_stop_can_be_silent(self) -> None:
        """`stop(exceptions=False)` raises nothing."""
        client = WebsocketCommunicator(failing, "/")
        await client.connect()
        await client.stop(exceptions=False)

    async def test_timeout_error_of_the_application_is_its_own(self) -> None:
        """A TimeoutError raised by the application is not taken for the communicator's."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            raise TimeoutError("the database")

        with pytest.raises(TimeoutError, match="the database"):
            await ApplicationCommunicator(application, {"type": "test"}).receive_output()

    async def test_returned_application_is_not_waited_for(self) -> None:
        """Waiting for an event of an application that has returned fails at once."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            return

        communicator = ApplicationCommunicator(application, {"type": "test"})
        async with asyncio.timeout(5):
            with pytest.raises(TimeoutError, match="which has returned"):
                await communicator.receive_output(timeout=60)
            assert await communicator.receive_nothing(timeout=60)


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
