"""Names that nobody uses are forgotten, after a time or because there are too many."""

import asyncio

from fast_channels.layers.idle import IdleNames

from ..support.expect import eventually


async def test_a_name_is_forgotten_some_time_after_its_last_use() -> None:
    """One that is used again is not, nor those that were left later, before their time."""
    forgotten: list[str] = []
    names = IdleNames(lambda name: not forgotten.append(name), after=0.2, most=100)
    for name in ("one", "two", "three"):
        names.leave(name)
    names.use("two")
    await asyncio.sleep(0.1)
    names.leave("one")
    await eventually(lambda: len(forgotten) == 2, "both")
    assert forgotten == ["three", "one"]
    names.close()


async def test_too_many_names() -> None:
    """Those that were left first are forgotten first."""
    forgotten: list[str] = []
    names = IdleNames(lambda name: not forgotten.append(name), after=3600, most=2)
    for name in "abcabd":
        names.leave(name)
    assert forgotten == ["a", "b", "c", "a"]
    names.close()


async def test_a_name_in_use_is_kept() -> None:
    """It is asked for again later."""
    asked: list[str] = []
    names = IdleNames(lambda name: bool(asked.append(name)), after=0.05, most=1)
    names.leave("one")
    names.leave("two")
    await eventually(lambda: asked.count("one") > 1 and asked.count("two") > 1, "two looks at each")
    names.close()
    before = len(asked)
    await asyncio.sleep(0.15)
    assert len(asked) == before
