"""Databases of one Redis keep the stages of an app apart."""

import pytest

from fast_channels.layers import BaseChannelLayer

from ..support.backends import Backend, over
from ..support.expect import messages, silence

KINDS = ["pubsub-standalone", "pubsub-sentinel", "queue-standalone", "queue-sentinel"]


@over(KINDS)
async def test_stages_on_two_databases_do_not_hear_each_other(backend: Backend) -> None:
    """Neither rooms nor jobs, with the same prefix; one stage hears itself."""
    production, staging, other = (stage(backend, number) for number in (0, 1, 1))
    async with production, staging, other:
        heard = []
        for layer in (production, staging):
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            heard.append(channel)
        await other.group_send("room", {"type": "staged"})
        assert await messages(staging, heard[1]) == [{"type": "staged"}]
        await silence(production, heard[0])
        await production.group_send("room", {"type": "live"})
        assert await messages(production, heard[0]) == [{"type": "live"}]
        await silence(staging, heard[1])


@pytest.mark.parametrize("database", [0, 1])
@over(["queue-standalone"])
async def test_flush_leaves_the_other_database_alone(backend: Backend, database: int) -> None:
    """It deletes what its own names begin with."""
    one, other = stage(backend, database), stage(backend, 1 - database)
    async with one, other:
        for layer in (one, other):
            await layer.send("jobs", {"type": "x"})
        await one.flush()
        assert await messages(other, "jobs") == [{"type": "x"}]
        await silence(one, "jobs")


def stage(backend: Backend, database: int) -> BaseChannelLayer:
    return backend.make(connection_kwargs={"db": database})
