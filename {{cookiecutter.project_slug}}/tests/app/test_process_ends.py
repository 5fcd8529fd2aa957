"""Processes and Redis come and go: what visitors notice, and that everything goes on after it."""

import asyncio
import gc
import signal
import socket

import httpx

from ..fast_channels.faults.drops import Plan, run
from . import drops
from .broker import Broker
from .processes import Processes
from .tunnel import HOST, Tunnel
from .visitors import close_code, http_to, text_of, visit_server

OUTAGE_SECONDS = 60.0  # a Sentinel failover takes 3 to 5 s, on a busy machine much longer


async def test_a_web_process_that_is_stopped_tells_its_sockets_to_come_again(
    processes: Processes, room: str
) -> None:
    """They are closed with 1012, and are at home in the other one; no error is logged."""
    async with visit_server(processes.a.url, room, "Ada") as ada:
        status = await asyncio.to_thread(processes.a.stop)
        assert await close_code(ada) == 1012
    assert status in (0, -signal.SIGTERM)
    assert "Application shutdown complete" in processes.a.said()
    assert "Traceback" not in processes.a.said()
    async with visit_server(processes.b.url, room, cookie=ada.cookie) as again:
        assert again.user == ada.user


async def test_a_worker_that_is_stopped_finishes_its_job(processes: Processes) -> None:
    async with visit_server(processes.a.url) as ada:
        await ada.start("answer")
        await ada.receive("job_output")
        assert await asyncio.to_thread(processes.worker.stop) == 0
        assert (await ada.receive("job_ended"))["state"] == "done"
    assert "Traceback" not in processes.worker.said()


async def test_a_job_whose_worker_was_killed_is_ended_by_the_next(processes: Processes) -> None:
    """Once the lease of the dead one has ended. Where a history is kept nothing is said twice."""
    async with visit_server(processes.a.url) as ada:
        job = (await ada.start("answer", prompt="Why?"))["job"]
        said = [await ada.receive("job_output")]
        await asyncio.to_thread(processes.worker.kill)
        await asyncio.to_thread(processes.worker.start)
        said += await ada.receive_until("job_ended", OUTAGE_SECONDS)
        assert said[-1]["state"] == "done"
        if "position" in said[0]:
            assert text_of(said).count("You asked: Why?") == 1
            assert text_of(said) == text_of((await ada.follow(job))["events"])
            assert text_of(said).endswith("jobs.py.")


async def test_a_job_outlives_the_web_process_that_started_it(processes: Processes) -> None:
    """The page comes back to another one, by its position, and the job goes on."""
    async with visit_server(processes.a.url) as ada:
        job = (await ada.start("answer"))["job"]
        said = [await ada.receive("job_output")]
        await asyncio.to_thread(processes.a.kill)
    async with visit_server(processes.b.url, cookie=ada.cookie) as ada:
        since = said[-1].get("position", "")
        joined = await ada.follow(job, since=since)
        said += joined["events"]
        if said[-1]["type"] != "job_ended":
            said += await ada.receive_until("job_ended")
        if joined["complete"]:
            assert text_of(said) == text_of((await ada.follow(job))["events"])
        assert joined["complete"] == bool(since)


async def test_sockets_outlive_the_loss_of_redis(
    processes: Processes, broker: Broker, room: str
) -> None:
    """Readiness says when it is gone and when it is back; then messages and jobs travel again."""
    async with (
        http_to(processes.a.url) as a,
        http_to(processes.b.url) as b,
        visit_server(processes.a.url, room, "Ada") as ada,
        visit_server(processes.b.url, room, "Ben") as ben,
    ):
        # Asked for from before the loss on: a failover may be over before a client is made.
        lost = asyncio.gather(until_ready_is(503, a), until_ready_is(503, b))
        await asyncio.to_thread(broker.lose)
        await lost
        await asyncio.to_thread(broker.recover)
        await asyncio.gather(until_ready_is(200, a), until_ready_is(200, b))
        await ada.say(room, "Back again")
        assert (await ben.receive("said"))["text"] == "Back again"
        await ben.start("answer")
        assert (await ben.receive("job_ended"))["state"] == "done"


async def test_devices_that_are_cut_off_while_web_processes_restart(processes: Processes) -> None:
    """The short form of `make drops`: each gets all that room and job say once, and in order.

    With pub/sub nothing is kept, and no return says that it has caught up.
    """
    web = [processes.a, processes.b]
    settle = 20 if drops.KEPT else 0
    plan = Plan(clients=8, seconds=2, rate=20, stay=(0.2, 1), away=0.5, settle=settle)
    async with drops.app_scene(web, [*web, processes.worker]) as scene:
        counted = await run("app", scene, plan)
    assert counted.cuts >= 8
    assert counted.restarts == 2
    assert (counted.doubled, counted.reordered, counted.errors) == (0, 0, 0), str(counted)
    if drops.KEPT:
        assert counted.kept, str(counted)
    else:
        assert counted.incomplete >= 2 * len(counted.returns), str(counted)


def test_a_tunnel_that_ends_leaves_no_connection_open() -> None:
    """Nor one that comes at that moment; else it is reported here, or by whichever test is next."""
    for _ in range(20):
        with Tunnel() as tunnel:
            address = (HOST, int(tunnel.url.rpartition(":")[2]))
            clients = [socket.create_connection(address) for _ in range(8)]
        for client in clients:
            client.close()
    gc.collect()


async def until_ready_is(status: int, client: httpx.AsyncClient) -> None:
    async with asyncio.timeout(OUTAGE_SECONDS):
        while (await client.get("/health/ready")).status_code != status:
            await asyncio.sleep(0.1)
