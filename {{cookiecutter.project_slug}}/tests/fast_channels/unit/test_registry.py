"""Layers by alias."""

from collections.abc import Iterator

import pytest

from fast_channels.exceptions import InvalidChannelLayerError
from fast_channels.layers import (
    ChannelLayerRegistry,
    InMemoryChannelLayer,
    channel_layers,
    get_channel_layer,
    has_layers,
    open_layers,
    register_channel_layer,
    unregister_channel_layer,
)


@pytest.fixture
def registry() -> ChannelLayerRegistry:
    return ChannelLayerRegistry()


@pytest.fixture
def no_layers() -> Iterator[None]:
    """The module's own registry, empty for the test."""
    saved = {alias: channel_layers[alias] for alias in channel_layers.list_aliases()}
    channel_layers.clear()
    yield
    channel_layers.clear()
    for alias, layer in saved.items():
        channel_layers.register(alias, layer)


def test_a_mapping_from_alias_to_layer(registry: ChannelLayerRegistry) -> None:
    """Registering again replaces; all ways to ask agree."""
    old, new = InMemoryChannelLayer(), InMemoryChannelLayer()
    registry.register("chat", old)
    registry.register("chat", new)
    registry.register("jobs", old)
    assert registry["chat"] is registry.get("chat") is registry.require("chat") is new
    assert "chat" in registry
    assert len(registry) == 2
    assert registry.list_aliases() == ["chat", "jobs"]


def test_unknown_aliases(registry: ChannelLayerRegistry) -> None:
    """`get` gives None, `[]` a KeyError, and to unregister one is no error."""
    registry.unregister("nobody")
    assert registry.get("nobody") is None
    assert "nobody" not in registry
    with pytest.raises(KeyError):
        registry["nobody"]


def test_a_required_alias_that_is_missing_is_explained(registry: ChannelLayerRegistry) -> None:
    """The error, a ValueError, names the alias and those that there are."""
    with pytest.raises(InvalidChannelLayerError, match="registered: none"):
        registry.require("chat")
    registry.register("default", InMemoryChannelLayer())
    with pytest.raises(ValueError, match="as 'chta'; registered: 'default'"):
        registry.require("chta")


def test_clear_and_unregister(registry: ChannelLayerRegistry) -> None:
    """Both forget layers, without touching them."""
    for alias in ("a", "b", "c"):
        registry.register(alias, InMemoryChannelLayer())
    registry.unregister("a")
    assert registry.list_aliases() == ["b", "c"]
    registry.clear()
    assert len(registry) == 0


@pytest.mark.usefixtures("no_layers")
def test_the_modules_functions_share_one_registry() -> None:
    """`default` is the alias that is asked for without a name."""
    assert not has_layers()
    assert get_channel_layer() is None
    layer = InMemoryChannelLayer()
    register_channel_layer("default", layer)
    assert has_layers()
    assert get_channel_layer() is get_channel_layer("default") is channel_layers["default"] is layer
    unregister_channel_layer("default")
    assert not has_layers()


@pytest.mark.usefixtures("no_layers")
async def test_layers_are_opened_and_registered_together() -> None:
    """They are closed in the end, the last first, and stay known to what ends later."""
    events: list[str] = []

    class Told(InMemoryChannelLayer):
        async def open(self) -> None:
            events.append(f"open {self.capacity}")

        async def aclose(self) -> None:
            events.append(f"close {self.capacity}")

    layers = {"default": Told(capacity=1), "jobs": Told(capacity=2)}
    async with open_layers(layers):
        assert {alias: channel_layers[alias] for alias in channel_layers.list_aliases()} == layers
        assert events == ["open 1", "open 2"]
    assert events[2:] == ["close 2", "close 1"]
    assert get_channel_layer("jobs") is layers["jobs"]
