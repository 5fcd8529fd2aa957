"""Processes and Redis come and go: what visitors notice, and that everything goes on after it."""

import asyncio
import signal

import httpx

from .broker import Broker
from .processes import Processes, WebProcess
from .visitors import (
    PATIENCE,
    receive,
    receive_until,
    until_the_worker_reports,
    visit_server,
)

OUTAGE_SECONDS = 60.0  # a Sentinel failover takes 3 to 5 s, on a busy machine much longer


async def test_a_web_process_that_is_stopped_tells_its_sockets_to_come_again(
    processes: Processes, room: str
) -> None:
    """They are closed with 1012, the room hears who left, and the process ends without an error."""
    async with (
        visit_server(processes.a.url, room, "Ada") as ada,
        visit_server(processes.b.url, room, "Ben") as ben,
    ):
        status = await asyncio.to_thread(processes.a.stop)
        assert await ada.close_code() == 1012
        assert (await receive(ben, "left"))["name"] == "Ada"
    assert status in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in processes.a.said()
    assert "Traceback" not in processes.a.said()


async def test_a_worker_that_is_stopped_finishes_its_job(processes: Processes, room: str) -> None:
    async with visit_server(processes.a.url, room, "Ada") as ada:
        await ada.send_json_to({"type": "job.start"})
        await until_the_worker_reports(ada)
        assert await asyncio.to_thread(processes.worker.stop) == 0
        await receive(ada, "job.done")
    assert "Traceback" not in processes.worker.said()


async def test_a_job_whose_worker_was_killed_is_done_by_the_next(
    processes: Processes, room: str
) -> None:
    """From its beginning, once the lease of the dead one has ended."""
    async with visit_server(processes.a.url, room, "Ada") as ada:
        await ada.send_json_to({"type": "job.start"})
        await until_the_worker_reports(ada)
        await asyncio.to_thread(processes.worker.kill)
        await asyncio.to_thread(processes.worker.start)
        frames = await receive_until(ada, "job.done", OUTAGE_SECONDS)
        assert 1 in [frame.get("done") for frame in frames]


async def test_sockets_outlive_the_loss_of_redis(
    processes: Processes, broker: Broker, room: str
) -> None:
    """Readiness says when it is gone and when it is back; then messages and jobs travel again."""
    async with (
        http(processes.a) as a,
        http(processes.b) as b,
        visit_server(processes.a.url, room, "Ada") as ada,
        visit_server(processes.b.url, room, "Ben") as ben,
    ):
        # Asked for from before the loss on: a failover may be over before a client is made.
        lost = asyncio.gather(until_ready_is(503, a), until_ready_is(503, b))
        await asyncio.to_thread(broker.lose)
        await lost
        await asyncio.to_thread(broker.recover)
        await asyncio.gather(until_ready_is(200, a), until_ready_is(200, b))
        await ada.send_json_to({"type": "message", "text": "Back again"})
        assert (await receive(ben, "message"))["text"] == "Back again"
        await ben.send_json_to({"type": "job.start"})
        await receive(ben, "job.done")


def http(web: WebProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=web.url, trust_env=False, timeout=PATIENCE)


async def until_ready_is(status: int, client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(OUTAGE_SECONDS):
        while (await client.get("/health/ready")).status_code != status:
            await asyncio.sleep(0.1)
