"""FastAPI's way in: an endpoint resolves its dependencies, then hands its socket to a consumer.

Over real sockets with uvicorn's own protocol and with that of the runtime; what no wire can show, with a
communicator. What is left behind is checked by the fixture `memory_layer`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, WebSocket, WebSocketException
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocketDisconnect
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fast_channels.consumer import AsyncConsumer, AsyncWebsocketConsumer
from fast_channels.middleware import OriginValidator
from fast_channels.testing import WebsocketCommunicator

from ..support.expect import eventually
from ..support.uvicorn_server import serving

pytestmark = pytest.mark.usefixtures("memory_layer")


class Visit(AsyncWebsocketConsumer):
    """Notes what happens to it; does what a frame says."""

    story: list[str]
    room: str
    user: str
    limit = 3

    async def connect(self) -> None:
        self.story.append("connect")
        match self.room:
            case "closed":
                await self.close(4000)
            case "gone":
                await self.deny(410, "This room is gone.", headers=[("x-room", "gone")])
            case "teapot":
                raise HTTPException(418, "short and stout")
            case "broken":
                raise ZeroDivisionError
            case _:
                await self.accept(headers=[("x-room", self.room)])
                await self.send(f"{self.user} in {self.room}")

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        match text_data:
            case "close":
                await self.close(4001)
            case "fail":
                raise ZeroDivisionError
            case _:
                await self.send(text_data, bytes_data)

    async def disconnect(self, code: int) -> None:
        self.story.append(f"disconnect {code}")


@pytest.fixture
def story() -> list[str]:
    return []


@pytest.fixture
def app(story: list[str]) -> FastAPI:
    """Who visits is said by the query: `?user=`; a resource is held as long as its dependency lives."""
    app = FastAPI()

    async def resource() -> AsyncIterator[None]:
        story.append("opened")
        try:
            yield
        except ZeroDivisionError:
            story.append("failed")
            raise
        finally:
            if "slow" in story:
                await asyncio.sleep(0.01)
            story.append("released")

    async def current_user(held: Annotated[None, Depends(resource)], user: str = "") -> str:
        if user == "nobody":
            raise HTTPException(401, "Sign in first.", {"WWW-Authenticate": "Cookie"})
        if user == "banned":
            raise WebSocketException(4003, "You may not come in.")
        return user

    router = APIRouter(prefix="/ws")

    @router.websocket("/visit/{room}")
    async def visit(
        websocket: WebSocket, room: str, user: Annotated[str, Depends(current_user)], floor: int = 0
    ) -> None:
        await Visit.serve(websocket, story=story, room=room, user=user)
        story.append("served")

    app.include_router(router)
    return app


@pytest.fixture
async def address(each_protocol: None, app: FastAPI) -> AsyncIterator[str]:
    async with serving(app) as address:
        yield f"ws://{address}/ws/visit"


async def refused(url: str) -> Any:
    with pytest.raises(InvalidStatus) as caught:
        await connect(url).__aenter__()
    return caught.value.response


# Over the wire


async def test_dependencies_reach_the_consumer(address: str) -> None:
    """Path, query and dependencies are what the endpoint gives; the accept's headers and frames travel."""
    async with connect(f"{address}/lobby?user=Ann") as client:
        assert client.response is not None
        assert client.response.headers["x-room"] == "lobby"
        assert await client.recv() == "Ann in lobby"
        for frame in ("text", b"bytes", ""):
            await client.send(frame)
            assert await client.recv() == frame


async def test_a_dependency_refuses_with_an_http_answer(address: str, story: list[str]) -> None:
    """Status, headers and body are the exception's; the consumer is not made, what was opened is released."""
    response = await refused(f"{address}/lobby?user=nobody")
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Cookie"
    assert response.body == b'{"detail":"Sign in first."}'
    await eventually(lambda: story == ["opened", "released"], "the resource to be released")


@pytest.mark.parametrize("path", ["lobby?user=banned", "lobby?floor=first"])
async def test_a_dependency_refuses_with_a_close_code(address: str, path: str, caplog: Any) -> None:
    """Before the accept no code travels: a `WebSocketException` and an invalid argument are HTTP 403."""
    assert (await refused(f"{address}/{path}")).status_code == 403
    assert "Exception" not in caplog.text


@pytest.mark.parametrize(
    ("room", "status", "body"),
    [
        ("closed", 403, b""),
        ("gone", 410, b"This room is gone."),
        ("teapot", 418, b'{"detail":"short and stout"}'),
    ],
)
async def test_the_consumer_refuses(
    address: str, story: list[str], room: str, status: int, body: bytes, caplog: Any
) -> None:
    """By `close()`, by `deny()` and by an `HTTPException`; `disconnect()` runs, then the clean-up. None
    of them is an error of the consumer's.
    """
    response = await refused(f"{address}/{room}")
    assert (response.status_code, response.body or b"") == (status, body)
    assert response.headers.get("x-room") == ("gone" if room == "gone" else None)
    await eventually(lambda: "released" in story, "the clean-up")
    assert [one for one in story if one != "served"] in (
        ["opened", "connect", "disconnect 1006", "released"],
        ["opened", "connect", "disconnect 1011", "released"],  # it failed, as far as it knows
    )
    assert "failed" not in caplog.text


async def test_a_failure_before_the_accept_is_http_500(address: str, caplog: Any) -> None:
    """As with `as_asgi()`; the error is in the server's log."""
    assert (await refused(f"{address}/broken")).status_code == 500
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("frame", "code", "rest"),
    [
        (None, 1000, ["served", "released"]),
        ("close", 4001, ["served", "released"]),
        ("fail", 1011, ["failed", "released"]),
    ],
)
async def test_what_a_dependency_holds_is_held_as_long_as_the_socket(
    address: str, story: list[str], frame: str | None, code: int, rest: list[str], caplog: Any
) -> None:
    """Whoever ends it: first `disconnect()`, then the endpoint goes on, then the clean-up runs."""
    async with connect(f"{address}/lobby") as client:
        await client.recv()
        assert story == ["opened", "connect"]
        if frame is not None:
            await client.send(frame)
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == code
    await eventually(lambda: "released" in story, "the clean-up")
    assert story == ["opened", "connect", f"disconnect {code}", *rest]
    assert ("ZeroDivisionError" in caplog.text) == (frame == "fail")


async def test_the_server_stops(each_protocol: None, app: FastAPI, story: list[str]) -> None:
    """Each socket is closed with 1012, and what its dependencies hold is released before the process ends."""
    async with serving(app) as address:
        clients = [await connect(f"ws://{address}/ws/visit/lobby") for _ in range(3)]
    assert story.count("disconnect 1012") == story.count("released") == 3
    for client in clients:
        await client.recv()
        with pytest.raises(ConnectionClosed) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1012


async def test_clients_that_vanish(address: str, story: list[str], caplog: Any) -> None:
    """They leave no error in the log, whenever they go."""
    for _ in range(5):
        client = await connect(f"{address}/lobby")
        for _ in range(30):
            await client.send("x" * 10_000)
        client.transport.abort()
    await eventually(lambda: story.count("released") == 5, "the clean-up")
    assert "Exception" not in caplog.text
    assert "Error" not in caplog.text


# With a communicator


async def test_cancellation_ends_the_consumer_then_the_dependencies(
    app: FastAPI, story: list[str]
) -> None:
    """As when a server gives up waiting: 1001. A clean-up that waits has the time that it needs."""
    story.append("slow")
    client = WebsocketCommunicator(app, "/ws/visit/lobby")
    assert await client.connect() == (True, None)
    await client.stop()
    assert story == ["slow", "opened", "connect", "disconnect 1001", "released"]


async def test_sending_to_a_client_that_has_left_is_no_error(story: list[str]) -> None:
    """Also where its leaving is not seen yet, for more frames wait than are read ahead."""
    gate = asyncio.Event()

    class Slow(Visit):
        backlog = 2

        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            await gate.wait()
            await super().receive(text_data, bytes_data)

    app = FastAPI()

    @app.websocket("/")
    async def visit(websocket: WebSocket) -> None:
        await Slow.serve(websocket, story=story, room="lobby", user="Ann")
        story.append("served")

    client = WebsocketCommunicator(app, "/")
    assert await client.connect() == (True, None)
    assert await client.receive_from() == "Ann in lobby"
    for number in range(10):
        await client.send_to(str(number))
    leaving = asyncio.create_task(client.disconnect(timeout=10))
    await asyncio.sleep(0)
    gate.set()
    await leaving
    assert story == ["connect", "disconnect 1000", "served"]


async def test_a_client_that_leaves_during_connect_is_no_error(story: list[str]) -> None:
    """What `connect()` then does is nothing."""
    gate = asyncio.Event()

    class Slow(Visit):
        disconnect_patience = 0.01

        async def connect(self) -> None:
            await gate.wait()
            await super().connect()
            await self.deny(404)

        async def disconnect(self, code: int) -> None:
            await super().disconnect(code)
            gate.set()

    app = FastAPI()

    @app.websocket("/")
    async def visit(websocket: WebSocket) -> None:
        await Slow.serve(websocket, story=story, room="lobby", user="Ann")

    client = WebsocketCommunicator(app, "/")
    await client.send_input({"type": "websocket.connect"})
    await client.disconnect(1006, timeout=10)
    assert story == ["disconnect 1006", "connect"]


@pytest.mark.parametrize("state", ["CONNECTED", "DISCONNECTED"])
async def test_a_socket_that_was_answered_is_not_served(state: str) -> None:
    """The error says what a consumer needs."""
    app = FastAPI()

    @app.websocket("/")
    async def visit(websocket: WebSocket) -> None:
        await (websocket.accept() if state == "CONNECTED" else websocket.close())
        with pytest.raises(RuntimeError, match="needs a CONNECTING WebSocket, not one that is"):
            await Visit.serve(websocket, story=[], room="lobby", user="Ann")
        if state == "CONNECTED":
            await websocket.close(4002)

    client = WebsocketCommunicator(app, "/")
    assert (await client.connect())[0] is (state == "CONNECTED")
    await client.disconnect()


async def test_deny_where_the_server_knows_no_such_answer(story: list[str]) -> None:
    """The server's own refusal, HTTP 403, takes its place; an open socket cannot be denied."""
    visit = Visit.as_asgi(story=story, room="gone", user="Ann")
    client = WebsocketCommunicator(visit, "/")
    del client.scope["extensions"]
    assert await client.connect() == (False, 1000)
    await client.disconnect()

    class Late(Visit):
        async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
            with pytest.raises(RuntimeError, match="not OPEN"):
                await self.deny()
            await self.send("still here")

    async with WebsocketCommunicator(Late.as_asgi(story=[], room="r", user="u"), "/") as client:
        await client.receive_from()
        await client.send_to("deny")
        assert await client.receive_from() == "still here"


# Arguments


def test_arguments_become_declared_attributes() -> None:
    """Annotated or set, in the class or a base of one's own; the others keep their values."""

    class Late(Visit):
        user = "nobody"
        extra: int

    late = Late(room="lobby", extra=1)
    assert (late.room, late.extra, late.user, late.limit) == ("lobby", 1, "nobody", 3)
    assert Late(limit=5).limit == 5
    assert Late.limit == 3


@pytest.mark.parametrize(
    "name", ["rom", "scope", "channel_name", "groups", "send", "connect", "_state", "__class__"]
)
def test_other_arguments_are_refused(name: str) -> None:
    """What is misspelt, and what a consumer has for itself; the error says what there is."""
    with pytest.raises(TypeError, match=rf"Visit declares no {name}; it takes limit, room, story"):
        Visit(**{name: 1})
    with pytest.raises(TypeError, match="AsyncWebsocketConsumer declares no user; it takes no arg"):
        AsyncWebsocketConsumer(user=1)


async def test_a_class_with_an_init_gets_them_itself() -> None:
    """By `serve` as by `as_asgi`, with the checks of its signature."""

    class Own(Visit):
        def __init__(self, place: str, *, user: str = "Bob") -> None:
            super().__init__(story=[], room=place, user=user)

    app = FastAPI()

    @app.websocket("/")
    async def visit(websocket: WebSocket) -> None:
        with pytest.raises(TypeError, match="unexpected keyword argument 'room'"):
            await Own.serve(websocket, room="lobby")
        await Own.serve(websocket, place="attic")

    async with WebsocketCommunicator(app, "/") as client:
        assert await client.receive_from() == "Bob in attic"
    async with WebsocketCommunicator(Own.as_asgi(place="cellar"), "/") as client:
        assert await client.receive_from() == "Bob in cellar"


async def test_a_job_gets_them_too() -> None:
    """What a consumer of any kind declares is an argument."""

    class Job(AsyncConsumer):
        retries: int

    assert Job(retries=2).retries == 2
    assert Job.as_asgi(retries=2).consumer_initkwargs == {"retries": 2}


# as_asgi(), in all places where one would put it


class PathEcho(AsyncWebsocketConsumer):
    greeting = "hello"

    async def connect(self) -> None:
        await self.accept()
        await self.send(f"{self.greeting} {self.scope['path_params']['room']}")

    async def receive(self, text_data: Any = None, bytes_data: Any = None) -> None:
        await self.send(text_data, bytes_data)


def mounted_router() -> Any:
    sockets = APIRouter()
    sockets.routes.append(WebSocketRoute("/chat/{room}", PathEcho.as_asgi(greeting="hi")))
    app = FastAPI()
    app.mount("/ws", sockets)
    return app


def mounted_router_by_method() -> Any:
    sockets = APIRouter()
    sockets.add_websocket_route("/chat/{room}", PathEcho.as_asgi(greeting="hi"))
    app = FastAPI()
    app.mount("/ws", sockets)
    return app


def included_router() -> Any:
    sockets = APIRouter()
    sockets.add_websocket_route("/chat/{room}", PathEcho.as_asgi(greeting="hi"))
    app = FastAPI()
    app.include_router(sockets, prefix="/ws")
    return app


def the_apps_own_router() -> Any:
    app = FastAPI()
    app.router.add_websocket_route("/ws/chat/{room}", PathEcho.as_asgi(greeting="hi"))
    return app


def the_apps_routes() -> Any:
    route = WebSocketRoute("/ws/chat/{room}", PathEcho.as_asgi(greeting="hi"))
    return FastAPI(routes=[route])


def api_route() -> Any:
    app = FastAPI()
    app.add_api_websocket_route("/ws/chat/{room}", PathEcho.as_asgi(greeting="hi"))
    return app


def api_route_of_a_router() -> Any:
    sockets = APIRouter(prefix="/ws")
    sockets.add_api_websocket_route("/chat/{room}", PathEcho.as_asgi(greeting="hi"))
    app = FastAPI()
    app.include_router(sockets)
    return app


def api_route_of_a_function() -> Any:
    async def chat(websocket: WebSocket) -> None:
        await PathEcho.serve(websocket, greeting="hi")

    app = FastAPI()
    app.add_api_websocket_route("/ws/chat/{room}", chat)
    return app


def starlette_function() -> Any:
    async def chat(websocket: Any) -> None:
        await PathEcho.serve(websocket, greeting="hi")

    return Starlette(routes=[WebSocketRoute("/ws/chat/{room}", chat)])


PLACES: list[Callable[[], Any]] = [
    mounted_router,
    mounted_router_by_method,
    included_router,
    the_apps_own_router,
    the_apps_routes,
    api_route,
    api_route_of_a_router,
    api_route_of_a_function,
    starlette_function,
]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
async def test_each_place_works(place: Callable[[], Any]) -> None:
    """Arguments, path parameters and frames, under a communicator."""
    async with WebsocketCommunicator(place(), "/ws/chat/lobby") as client:
        assert await client.receive_from() == "hi lobby"
        await client.send_to(bytes_data=b"frame")
        assert await client.receive_from() == b"frame"


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
def test_each_place_works_in_the_test_client(place: Callable[[], Any]) -> None:
    """The same under Starlette's own."""
    with TestClient(place()).websocket_connect("/ws/chat/lobby") as client:
        assert client.receive_text() == "hi lobby"
        client.send_bytes(b"frame")
        assert client.receive_bytes() == b"frame"


def test_a_served_consumer_in_the_test_client(app: FastAPI, story: list[str]) -> None:
    """Frames, the consumer's close, a refusal; and the clean-up after each of them."""
    client = TestClient(app)
    with client.websocket_connect("/ws/visit/lobby?user=Ann") as socket:
        assert socket.receive_text() == "Ann in lobby"
        socket.send_text("close")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.code == 4001
    for path in ("lobby?user=nobody", "gone", "closed"):
        with pytest.raises(WebSocketDisconnect), client.websocket_connect(f"/ws/visit/{path}"):
            pass
    assert story.count("opened") == story.count("released") == 4


# The page's origin is checked before dependencies are


def mounted_behind_a_middleware(router: APIRouter) -> FastAPI:
    app = FastAPI()
    app.mount("/ws", OriginValidator(router, ["self"]))
    return app


def middleware_of_the_app(router: APIRouter) -> FastAPI:
    app = FastAPI()
    app.add_middleware(OriginValidator, allowed_origins=["self"])
    app.include_router(router, prefix="/ws")
    return app


@pytest.mark.usefixtures("each_protocol")
@pytest.mark.parametrize("place", [mounted_behind_a_middleware, middleware_of_the_app])
async def test_an_endpoint_behind_a_check_of_the_origin(place: Any, story: list[str]) -> None:
    """A page of another host opens nothing; one's own has its dependencies, and is refused by them."""
    router = APIRouter()

    def user(name: str = "") -> Iterator[str]:
        if not name:
            raise HTTPException(401)
        story.append("opened")
        yield name
        story.append("released")

    @router.websocket("/visit/{room}")
    async def visit(websocket: WebSocket, room: str, user: Annotated[str, Depends(user)]) -> None:
        await Visit.serve(websocket, story=[], room=room, user=user)

    async with serving(place(router)) as address:
        url, own = f"ws://{address}/ws/visit/lobby", {"origin": f"http://{address}"}
        async with connect(f"{url}?name=Ann", additional_headers=own) as client:
            assert await client.recv() == "Ann in lobby"
        for path, origin, status in (
            ("?name=Ann", "http://b.example", 403),
            ("", own["origin"], 401),
        ):
            with pytest.raises(InvalidStatus) as caught:
                await connect(url + path, additional_headers={"origin": origin}).__aenter__()
            assert caught.value.response.status_code == status
    assert story == ["opened", "released"]
