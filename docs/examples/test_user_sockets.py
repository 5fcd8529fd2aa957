"""The sockets of one user, listed from anywhere."""

import asyncio

from fast_channels.consumer import AsyncJsonWebsocketConsumer
from fast_channels.identity import IdentityMixin, user_group
from fast_channels.layers import (
    InMemoryChannelLayer,
    register_channel_layer,
    unregister_channel_layer,
)
from fast_channels.presence import Presence, PresenceMixin
from fast_channels.testing import WebsocketCommunicator


# consumer
class DeviceConsumer(IdentityMixin, PresenceMixin, AsyncJsonWebsocketConsumer):
    device = "browser"

    async def connect(self) -> None:
        # Each socket under its own name, in the group that IdentityMixin has joined.
        await self.present(user_group(self.user), self.channel_name, {"device": self.device})
        await self.accept()


# test
async def test_a_users_sockets_are_listed() -> None:
    """With what each one says of itself, until it is gone."""
    layer = InMemoryChannelLayer()
    register_channel_layer("default", layer)
    try:
        async with layer, Presence(layer, grace=0) as presence:
            phone = WebsocketCommunicator(DeviceConsumer.as_asgi(user="ann", device="phone"), "/")
            laptop = WebsocketCommunicator(DeviceConsumer.as_asgi(user="ann", device="laptop"), "/")
            for device in (phone, laptop):
                await device.connect()
            sockets = await presence.members(user_group("ann"))
            assert sorted(one.info["device"] for one in sockets) == ["laptop", "phone"]
            await phone.disconnect()
            async with asyncio.timeout(5):
                while len(sockets := await presence.members(user_group("ann"))) > 1:
                    await asyncio.sleep(0.01)
            assert sockets[0].info == {"device": "laptop"}
            await laptop.disconnect()
    finally:
        unregister_channel_layer("default")
