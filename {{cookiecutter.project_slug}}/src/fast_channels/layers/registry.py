"""Layers by alias, so that consumers name a layer instead of importing one."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from ..exceptions import InvalidChannelLayerError
from .base import BaseChannelLayer

DEFAULT_ALIAS = "default"


class ChannelLayerRegistry:
    """A mapping from alias to layer. Registering an alias again replaces its layer."""

    def __init__(self) -> None:
        self._layers: dict[str, BaseChannelLayer] = {}

    def register(self, alias: str, layer: BaseChannelLayer) -> None:
        self._layers[alias] = layer

    def unregister(self, alias: str) -> None:
        """Forget an alias; an unknown one is no error. The layer is not closed."""
        self._layers.pop(alias, None)

    def get(self, alias: str) -> BaseChannelLayer | None:
        return self._layers.get(alias)

    def require(self, alias: str) -> BaseChannelLayer:
        """The layer, or ``InvalidChannelLayerError`` naming the aliases that there are."""
        if alias not in self._layers:
            known = ", ".join(map(repr, self._layers)) or "none"
            raise InvalidChannelLayerError(
                f"No channel layer is registered as {alias!r}; registered: {known}. "
                f"Call register_channel_layer({alias!r}, layer) before the first connection."
            )
        return self._layers[alias]

    def list_aliases(self) -> list[str]:
        return list(self._layers)

    def clear(self) -> None:
        self._layers.clear()

    def __contains__(self, alias: object) -> bool:
        return alias in self._layers

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, alias: str) -> BaseChannelLayer:
        return self._layers[alias]


channel_layers = ChannelLayerRegistry()


def get_channel_layer(alias: str = DEFAULT_ALIAS) -> BaseChannelLayer | None:
    """The layer registered as ``alias``, or None."""
    return channel_layers.get(alias)


def register_channel_layer(alias: str, layer: BaseChannelLayer) -> None:
    channel_layers.register(alias, layer)


def unregister_channel_layer(alias: str) -> None:
    channel_layers.unregister(alias)


@asynccontextmanager
async def open_layers(layers: Mapping[str, BaseChannelLayer]) -> AsyncIterator[None]:
    """Open each layer and register it under its alias; close them in the end.

    They stay registered, since what ends later than they do, such as a socket, may still ask for them.
    """
    async with AsyncExitStack() as stack:
        for alias, layer in layers.items():
            register_channel_layer(alias, await stack.enter_async_context(layer))
        yield


def has_layers() -> bool:
    return len(channel_layers) > 0
