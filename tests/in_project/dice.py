"""The tutorial's message through a server."""

from .processes import WebProcess
from .visitors import visit_server


async def test_a_roll_travels_from_socket_to_socket(server: WebProcess, room: str) -> None:
    """It is kept, too; and what an unknown type is answered with names the new one."""
    async with (
        visit_server(server.url, room, "Ann") as ann,
        visit_server(server.url, room, "Bo") as bo,
    ):
        await ann.ask("roll", group=f"room.{room}")
        rolled = await bo.receive("rolled")
        assert rolled == await ann.receive("rolled")
        assert (rolled["user"], rolled["value"] in range(1, 7)) == (ann.user, True)
        assert (await bo.enter(room, history=1))["events"] == [rolled]
        error = await bo.ask("role")
        assert "say, roll, typing" in error["detail"]
