"""The short form of `make faults`: each fault once or twice, with a small load."""

import pytest

from ..faults import cases, drops, jobs
from ..faults.report import Result
from ..faults.traffic import Load

# Sockets on both processes: what one of several on a process misses all miss.
LOAD = Load(sockets=4, senders=4, rate=100)
# The slowest first, so that tests which run side by side end together.
PUBSUB = ["cluster", "failover", "freeze", "kill", "restart"]
QUEUE = ["stale", "consumer", *PUBSUB]


def expect_kept(result: Result) -> None:
    assert result.broken == []
    assert result.accepted > 0


@pytest.mark.parametrize("case", QUEUE)
async def test_queue(case: str) -> None:
    """Each accepted message arrives once and in order, and no socket closes."""
    expect_kept(await cases.run(case, "queue", rounds=1, load=LOAD, replicated=True))


@pytest.mark.parametrize("case", PUBSUB)
async def test_pubsub(case: str) -> None:
    """Nothing arrives twice or out of order, no socket closes, and each is told of a gap."""
    result = await cases.run(case, "pubsub", rounds=1, load=LOAD, replicated=False)
    expect_kept(result)
    # In an unsharded Cluster notifications need not come by the node that was killed.
    if case != "cluster" or result.lost:
        assert result.gaps >= LOAD.sockets


async def test_worker() -> None:
    """Each job is done, also those of a worker that was killed in the middle of them."""
    result = await jobs.run(rounds=2)
    expect_kept(result)
    # One lease, the second between two looks, and the job itself; the rest is a slow machine.
    assert max(result.recovery) < jobs.LEASE_SECONDS + 10


@pytest.mark.parametrize("layer", drops.LAYERS)
async def test_drops(layer: str) -> None:
    """Clients that are cut off again and again get each message once, also while web processes restart."""
    plan = drops.Plan(clients=10, seconds=8, rate=50)
    counted = await drops.run_in(layer, drops.SCENES[layer], plan)
    assert counted.kept, str(counted)
    assert counted.cuts >= 10
    assert counted.restarts == (2 if layer == "queue" else 0)
