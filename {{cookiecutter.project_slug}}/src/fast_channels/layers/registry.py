"""Layers by alias, so that consumers name a layer instead of importing one; and what an app does with all."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from ..exceptions import InvalidChannelLayerError
from .base import BaseChannelLayer

DEFAULT_ALIAS = "default"


class ChannelLayerRegistry:
    """A mapping from alias to layer."""

    def __init__(self) -> None:
        self._layers: dict[str, BaseChannelLayer] = {}

    def register(self, alias: str, layer: BaseChannelLayer) -> None:
        """Registering an alias again replaces its layer."""
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
register_channel_layer = channel_layers.register
unregister_channel_layer = channel_layers.unregister


def get_channel_layer(alias: str = DEFAULT_ALIAS) -> BaseChannelLayer | None:
    """The layer registered as ``alias``, or None."""
    return channel_layers.get(alias)


def has_layers() -> bool:
    return len(channel_layers) > 0


@asynccontextmanager
async def open_layers(layers: Mapping[str, BaseChannelLayer]) -> AsyncIterator[None]:
    """Open each layer and register it under its alias; close them in the end.

    They stay registered, since what ends later than they do, such as a socket, may still ask for them.
    """
    async with AsyncExitStack() as stack:
        for alias, layer in layers.items():
            register_channel_layer(alias, await stack.enter_async_context(layer))
        yield


async def is_ready(layers: Iterable[BaseChannelLayer], timeout: float = 2.0) -> bool:
    """Whether a message goes through each layer and comes back, within `timeout` seconds for all."""
    try:
        async with asyncio.timeout(timeout):
            for layer in layers:
                await _round_trip(layer)
    except (OSError, TimeoutError):
        return False
    return True


async def _round_trip(layer: BaseChannelLayer) -> None:
    channel = await layer.new_channel()
    token = uuid.uuid4().hex
    try:
        await layer.send(channel, {"type": "health", "token": token})
        while (await layer.receive(channel))["token"] != token:
            pass
    finally:
        await layer.close_channel(channel)
