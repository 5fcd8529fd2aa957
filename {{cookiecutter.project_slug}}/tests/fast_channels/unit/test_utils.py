"""Several sources into one handler; domains; what counts as an application."""

import asyncio
from typing import Any

import pytest

from fast_channels.type_defs import as_application
from fast_channels.utils import await_many_dispatch, is_same_domain

from ..support.asgi_apps import no_task_left

__all__ = ["no_task_left"]


class Sink:
    """Keeps what is dispatched; `wait_for(count)` waits until so much has come."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self._changed = asyncio.Event()

    async def __call__(self, message: Any) -> None:
        self.messages.append(message)
        self._changed.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(self.messages) < count:
                self._changed.clear()
                await self._changed.wait()


def filled(*messages: Any) -> asyncio.Queue[Any]:
    queue: asyncio.Queue[Any] = asyncio.Queue()
    for message in messages:
        queue.put_nowait(message)
    return queue


async def broken() -> Any:
    raise ZeroDivisionError("the source")


class TestAwaitManyDispatch:
    async def test_each_source_keeps_its_order(self) -> None:
        """All messages of all sources are dispatched, each source's in order."""
        sink = Sink()
        sources = [filled(*((name, number) for number in range(50))) for name in "abc"]
        task = asyncio.create_task(await_many_dispatch([s.get for s in sources], sink))
        await sink.wait_for(150)
        for name in "abc":
            assert [n for source, n in sink.messages if source == name] == list(range(50))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def test_a_silent_source_does_not_hold_the_others(self) -> None:
        """Messages that come later are dispatched while another source is silent."""
        sink, source = Sink(), filled()
        task = asyncio.create_task(await_many_dispatch([filled().get, source.get], sink))
        for number in range(3):
            source.put_nowait(number)
            await sink.wait_for(number + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sink.messages == [0, 1, 2]

    async def test_one_at_a_time(self) -> None:
        """The next message is dispatched when the handler is done with the last."""
        running, most, done = 0, 0, asyncio.Event()

        async def dispatch(message: int) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1
            if message == 9:
                done.set()

        source = filled(*range(10))
        other = filled(*range(9))
        task = asyncio.create_task(await_many_dispatch([source.get, other.get], dispatch))
        async with asyncio.timeout(30):
            await done.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert most == 1

    async def test_error_of_the_handler_ends_it(self) -> None:
        """An exception of dispatch is raised; what is still in the sources stays there."""

        async def dispatch(message: int) -> None:
            raise ZeroDivisionError(message)

        source = filled(1, 2)
        with pytest.raises(ZeroDivisionError, match="1"):
            await await_many_dispatch([source.get, filled().get], dispatch)
        assert source.get_nowait() == 2

    async def test_error_of_a_source_ends_it_after_the_others_messages(self) -> None:
        """What another source gave in the same moment is dispatched before the error is raised."""
        sink = Sink()
        with pytest.raises(ZeroDivisionError, match="the source"):
            await await_many_dispatch([broken, filled("kept").get], sink)
        assert sink.messages == ["kept"]

    async def test_two_failing_sources(self) -> None:
        """The first error is raised, the second does not linger as one never retrieved."""
        with pytest.raises(ZeroDivisionError):
            await await_many_dispatch([broken, broken], Sink())

    async def test_cancellation_loses_nothing(self) -> None:
        """Cancelled at any step, each message is either dispatched or still in its source."""
        for steps in range(12):
            sink, sources = Sink(), [filled(*range(5)), filled(*range(5, 10))]
            task = asyncio.create_task(await_many_dispatch([s.get for s in sources], sink))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            left = [s.get_nowait() for s in sources for _ in range(s.qsize())]
            assert sorted(sink.messages + left) == list(range(10)), f"after {steps} steps"

    async def test_cancellation_during_a_slow_handler(self) -> None:
        """The handler is cancelled; what the other source gave meanwhile is still dispatched."""
        started, seen = asyncio.Event(), []

        async def dispatch(message: str) -> None:
            seen.append(message)
            if message == "slow":
                started.set()
                await asyncio.Event().wait()

        other = filled()
        task = asyncio.create_task(await_many_dispatch([filled("slow").get, other.get], dispatch))
        async with asyncio.timeout(30):
            await started.wait()
        other.put_nowait("taken")
        while not other.empty():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert seen == ["slow", "taken"]

    async def test_without_sources(self) -> None:
        """No sources is no work."""
        await await_many_dispatch([], Sink())


@pytest.mark.parametrize(
    ("host", "pattern", "same"),
    [
        ("example.com", "example.com", True),
        ("EXAMPLE.com", "example.COM", True),
        ("www.example.com", "example.com", False),
        ("example.com", ".example.com", True),
        ("a.b.example.com", ".example.com", True),
        ("badexample.com", ".example.com", False),
        ("example.com.evil.org", ".example.com", False),
        ("example.org", "example.com", False),
        ("example.com", "", False),
        ("", "", False),
        ("example.com", ".", False),
    ],
)
def test_is_same_domain(host: str, pattern: str, same: bool) -> None:
    """A domain is itself; with a leading dot also each of its subdomains."""
    assert is_same_domain(host, pattern) is same


class TestAsApplication:
    def test_an_application_is_itself(self) -> None:
        """What is callable is passed through."""

        async def application(scope: Any, receive: Any, send: Any) -> None: ...

        assert as_application(application) is application

    def test_a_consumer_class_makes_its_own(self) -> None:
        """A class with `as_asgi` is asked for it."""

        class Consumer:
            @classmethod
            def as_asgi(cls) -> Any:
                return broken

        assert as_application(Consumer) is broken

    @pytest.mark.parametrize("wrong", [int, "app", None], ids=repr)
    def test_others_are_refused(self, wrong: Any) -> None:
        """Another class or a value is a TypeError that shows it."""
        with pytest.raises(TypeError, match="expected an ASGI application"):
            as_application(wrong)
