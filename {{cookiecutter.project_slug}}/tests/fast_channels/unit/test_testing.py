"""The communicators: what can be driven, what it is told, and its errors."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI, WebSocket
from starlette.routing import Mount, Router, WebSocketRoute

from fast_channels.testing import (
    ApplicationCommunicator,
    HttpCommunicator,
    WebsocketCommunicator,
)
from fast_channels.type_defs import Receive, Scope, Send

from ..support.asgi_apps import Echo, echo, failing, no_task_left

__all__ = ["no_task_left"]


class TestApplications:
    """What can be driven."""

    @pytest.mark.parametrize(
        "application", [Echo, Echo.as_asgi(), echo], ids=["class", "asgi", "function"]
    )
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

    @pytest.mark.parametrize(
        "wrong", [object(), object, None, "app"], ids=["object", "type", "none", "str"]
    )
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

    @pytest.mark.parametrize(
        "method",
        [
            "receive_from",
            "receive_json_from",
            "receive_output",
            "receive_nothing",
            "wait",
        ],
    )
    async def test_failing_handler_of_a_consumer(self, method: str) -> None:
        """What a handler raises reaches the test in the place of the close 1011, by the next call.

        The close comes after it, and nothing raises it again.
        """
        client = WebsocketCommunicator(Echo, "/")
        await client.connect()
        await client.send_to(text_data="crash")
        with pytest.raises(ZeroDivisionError):
            await getattr(client, method)()
        assert (await client.receive_output())["code"] == 1011
        await client.disconnect()
        await client.stop()

    async def test_failing_handler_of_a_client_that_leaves(self) -> None:
        """The end of the test shows it too."""
        with pytest.raises(ZeroDivisionError):
            async with WebsocketCommunicator(Echo, "/") as client:
                await client.send_to(text_data="crash")

    async def test_frames_before_the_failure_come_first(self) -> None:
        """What a handler sent before it failed is received."""
        client = WebsocketCommunicator(Echo, "/")
        await client.connect()
        await client.send_to(text_data="hello")
        await client.send_to(text_data="crash")
        assert await client.receive_from() == "hello"
        with pytest.raises(ZeroDivisionError):
            await client.receive_from()

    async def test_close_was_received_before_the_failure(self) -> None:
        """An application that takes its time to fail: the close comes first, its exception next."""
        failing = asyncio.Event()

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1011})
            await failing.wait()
            raise ZeroDivisionError

        client = WebsocketCommunicator(application, "/")
        await client.connect()
        assert (await client.receive_output(timeout=0.01))["code"] == 1011
        failing.set()
        with pytest.raises(ZeroDivisionError):
            await client.disconnect()

    async def test_failure_behind_another_close(self) -> None:
        """A test that waits for a frame of an application that closed and failed gets its exception."""

        class Closing(Echo):
            async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
                await self.close(4000)
                raise ZeroDivisionError

        async with WebsocketCommunicator(Closing, "/") as client:
            await client.send_to(text_data="x")
            with pytest.raises(ZeroDivisionError):
                await client.receive_from()

    async def test_failure_behind_a_refusal(self) -> None:
        """`async with` raises the exception, not only that the connection was refused."""

        class Refusing(Echo):
            async def connect(self) -> None:
                await self.close()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            async with WebsocketCommunicator(Refusing, "/"):
                pytest.fail("entered")

    async def test_failing_test_and_failing_application(self) -> None:
        """The test's own failure is raised, with a note of the application's."""

        async def fail() -> None:
            async with WebsocketCommunicator(failing, "/"):
                await asyncio.sleep(0)
                raise LookupError("the test's own")

        with pytest.raises(LookupError, match="the test's own") as caught:
            await fail()
        assert caught.value.__notes__ == [
            'the application at / failed as well: ZeroDivisionError("the application\'s own")'
        ]

    async def test_late_application_that_fails_at_its_end(self) -> None:
        """The TimeoutError names what its clean-up raised as its cause."""

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise ZeroDivisionError

        communicator = ApplicationCommunicator(application, {"type": "test"})
        with pytest.raises(TimeoutError) as caught:
            await communicator.wait(timeout=0.01)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)

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
        async with asyncio.timeout(30):
            with pytest.raises(TimeoutError, match="which has returned"):
                await communicator.receive_output(timeout=60)
            assert await communicator.receive_nothing(timeout=60)
