"""What the app's tests stand on: settings that a test decides alone, the app in this process, in
memory or on real Redis, and the app as real processes.
"""

import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from fast_channels.layers import channel_layers

from {{ cookiecutter.project_slug }}.jobs import make_worker
from {{ cookiecutter.project_slug }}.limits import get_room_limit
from {{ cookiecutter.project_slug }}.settings import Settings, get_settings

from .broker import Broker
from .processes import Processes, WebProcess, WorkerProcess


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hypothesis has a part in the summary, for which it imports all of itself: half a second of a core."""
    if "hypothesis" not in sys.modules and not session.testsfailed:
        session.config.pluginmanager.unregister(name="hypothesispytest")


@pytest.fixture(autouse=True)
def _only_the_test_decides(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The developer's own .env and variables are not for tests."""
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    get_settings.cache_clear()
    get_room_limit.cache_clear()
    yield
    get_settings.cache_clear()
    get_room_limit.cache_clear()
    channel_layers.clear()


@pytest.fixture
def room() -> str:
    return uuid.uuid4().hex


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """Empty, so that the app is in memory; a test may ask for "redis" as its parameter."""
    if getattr(request, "param", "memory") == "memory":
        return ""
    broker: Broker = request.getfixturevalue("broker")
    return broker.url


@pytest.fixture
async def app(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FastAPI]:
    """The started app with a worker. No two tests share a key in Redis."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("APP_NAME", f"test-{uuid.uuid4().hex}")
    monkeypatch.setenv("JOB_STEP_SECONDS", "0.001")
    # Not at the top: the module reads the settings when it is imported.
    from {{ cookiecutter.project_slug }}.main import app

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        if redis_url:  # in memory the app starts a worker itself
            await stack.enter_async_context(make_worker())
        yield app


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """HTTP to the app in this process."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture(scope="session")
def all_processes(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    folder = tmp_path_factory.mktemp("processes")
    settings = {
        "REDIS_URL": broker.url,
        "SECRET_KEY": "x" * 32,
        "JOB_STEP_SECONDS": "0.1",
        "JOB_LEASE_SECONDS": "2",
    }
    processes = Processes(
        WebProcess(folder, settings), WebProcess(folder, settings), WorkerProcess(folder, settings)
    )
    with ExitStack() as stack:
        for process in processes.all():
            stack.callback(process.kill)
        yield processes


@pytest.fixture
def processes(all_processes: Processes) -> Iterator[Processes]:
    """All of them running, whatever the test before did to them; a failure shows their logs."""
    all_processes.start()
    yield all_processes
    for process in all_processes.all():
        print(f"--- {process!r}\n{process.said()}")


@pytest.fixture(scope="session")
def in_memory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    folder = tmp_path_factory.mktemp("server")
    with WebProcess(folder, {"SECRET_KEY": "x" * 32, "JOB_STEP_SECONDS": "0.05"}) as server:
        yield server


@pytest.fixture
def server(in_memory_server: WebProcess) -> Iterator[WebProcess]:
    """One web process without Redis; a test may `stop()` and `start()` it. A failure shows its log."""
    in_memory_server.start()
    yield in_memory_server
    print(in_memory_server.said())


# In a browser, with the optional group of this name. A module's, as Playwright has an event loop of its own.


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from .pages import open_browser

    with open_browser() as browser:
        yield browser


@pytest.fixture(scope="module")
def idle_pages(browser: Any) -> Any:
    """What `Visitors` keeps."""
    from .pages import Idle

    return Idle()


@pytest.fixture
def visitors(browser: Any, idle_pages: Any, server: WebProcess) -> Iterator[Any]:
    """Before the server in memory."""
    from .pages import Visitors

    with Visitors(browser, server.url, idle_pages) as visitors:
        yield visitors
