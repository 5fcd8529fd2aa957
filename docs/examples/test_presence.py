"""A room that shows who is there."""

from typing import Any

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.layers import InMemoryChannelLayer, open_layers
from fast_channels.presence import Presence, PresenceMixin
from fast_channels.testing import WebsocketCommunicator


# consumer
class LobbyConsumer(PresenceMixin, AsyncJsonWebsocketConsumer):
    """Sends the page who is here, and from then on who comes and goes."""

    async def connect(self) -> None:
        await self.accept()
        here = await self.watch("lobby")
        await self.send_json(
            {"here": [{"id": one.key, **one.info, "devices": one.connections} for one in here]}
        )
        user = self.scope["path"].strip("/")  # in an app it comes from the session
        await self.present("lobby", user, {"name": user.title()})

    async def presence_joined(self, message: dict[str, Any]) -> None:
        await self.send_json({"joined": message["key"], **message["info"]})

    async def presence_left(self, message: dict[str, Any]) -> None:
        await self.send_json({"left": message["key"]})

    async def presence_updated(self, message: dict[str, Any]) -> None:
        await self.send_json({"updated": message["key"], "devices": message["connections"]})


# test
async def test_a_lobby() -> None:
    """A second tab is no second person."""
    layer = InMemoryChannelLayer()
    async with open_layers({"default": layer}), Presence(layer, grace=0.1):
        ann = WebsocketCommunicator(LobbyConsumer.as_asgi(), "/ann")
        await ann.connect()
        assert await ann.receive_json_from() == {"here": []}
        assert await ann.receive_json_from() == {"joined": "ann", "name": "Ann"}
        tab = WebsocketCommunicator(LobbyConsumer.as_asgi(), "/ann")
        await tab.connect()
        assert await tab.receive_json_from() == {
            "here": [{"id": "ann", "name": "Ann", "devices": 1}]
        }
        assert await ann.receive_json_from() == {"updated": "ann", "devices": 2}
        await tab.disconnect()
        assert await ann.receive_json_from() == {"updated": "ann", "devices": 1}
        await ann.disconnect()


# end
