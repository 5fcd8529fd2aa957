"""What the server's log says, and what it keeps to itself."""

import logging

import httpx
import pytest

from {{ cookiecutter.project_slug }}.logs import ACCESS_FILTER

from ..fast_channels.support.redis_servers import wait_until
from .processes import PACKAGE, WebProcess
from .visitors import http_to, sign_in, visit_server


async def test_no_query_string_gets_into_the_log(server: WebProcess, room: str) -> None:
    """Neither of a socket nor of a request: they hold names, and tokens one day. The path does."""
    async with visit_server(server.url, room):
        pass
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        await client.get("/", params={"room": room, "token": "7531"})
    wait_until(lambda: '"GET / HTTP/1.1" 200' in server.said(), what="the request in the log")
    assert '"WebSocket /ws/chat" [accepted]' in server.said()
    assert "7531" not in server.said()


async def test_a_good_health_check_is_not_worth_a_line(server: WebProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        for path in ("/health/live", "/health/ready", "/health/odd"):
            await client.get(path)
    wait_until(lambda: "/health/odd" in server.said(), what="the last request in the log")
    assert "/health/live" not in server.said()
    assert "/health/ready" not in server.said()


@pytest.mark.parametrize(("status", "said"), [(200, False), (503, True), (404, True)])
def test_a_bad_health_check_is(status: int, said: bool) -> None:
    arguments = ("127.0.0.1:5000", "GET", "/health/ready?x=1", "1.1", status)
    record = logging.LogRecord(
        "uvicorn.access", logging.INFO, __file__, 1, '%s - "%s %s HTTP/%s" %d', arguments, None
    )
    assert ACCESS_FILTER.filter(record) == said
    assert record.getMessage().endswith(f'"GET /health/ready HTTP/1.1" {status}')


async def test_a_bad_request_leaves_no_traceback(server: WebProcess, room: str) -> None:
    async with http_to(server.url) as client:
        await sign_in(client, "Ada")
        response = await client.post(f"/rooms/{room}/messages", content=b'{"text": 1e400}')
        assert response.status_code == 422
    wait_until(lambda: '" 422' in server.said(), what="the request in the log")
    assert "Traceback" not in server.said()


async def test_several_processes_without_redis_are_warned_of(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing travels between them; uvicorn's processes have the variable that it reads itself."""
    from {{ cookiecutter.project_slug }}.main import app

    monkeypatch.setenv("WEB_CONCURRENCY", "2")
    with caplog.at_level(logging.INFO):
        async with app.router.lifespan_context(app):
            pass
    told = [record for record in caplog.records if "REDIS_URL is not set" in record.getMessage()]
    assert [record.levelname for record in told] == ["WARNING"]
    assert "2 web processes" in told[0].getMessage()


def test_one_process_without_redis_is_told_of(server: WebProcess) -> None:
    assert f"INFO:{PACKAGE}.main:REDIS_URL is not set" in server.said()
