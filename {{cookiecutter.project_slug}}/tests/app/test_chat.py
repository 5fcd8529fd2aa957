"""Rooms: who is there, what is said and what was said, in memory and on real Redis."""

import time

import httpx
import pytest
from fastapi import FastAPI

from fast_channels.exceptions import ChannelLayerUnavailable
from fast_channels.layers import channel_layers
from fast_channels.presence import Presence
from fast_channels.recovery import RecoveryMixin

from .visitors import PATIENCE, Visitor, keeps_history, sign_in, visit

pytestmark = pytest.mark.parametrize("redis_url", ["memory", "redis"], indirect=True)


async def said(visitor: Visitor) -> str:
    text: str = (await visitor.receive("said"))["text"]
    return text


async def test_a_message_reaches_everyone_in_the_room_with_its_author(
    app: FastAPI, room: str
) -> None:
    """Also its author, whose page knows it by its id."""
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ben") as ben:
        assert (await ada.say(room, "Hello Ben", id="m-1"))["type"] == "ok"
        for visitor in (ada, ben):
            message = await visitor.receive("said")
            assert time.time() - PATIENCE < message.pop("at") <= time.time()
            assert ("position" in message) == keeps_history()
            message.pop("position", None)
            assert message == {
                "type": "said",
                "group": f"room.{room}",
                "id": "m-1",
                "user": ada.user,
                "text": "Hello Ben",
            }


async def test_messages_arrive_once_and_in_order(app: FastAPI, room: str) -> None:
    texts = [f"Line {number}" for number in range(50)]
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ben") as ben:
        for text in texts:
            await ada.tell("say", group=f"room.{room}", text=text)
        await ada.say(room, "The end")
        assert [await said(ben) for _ in [*texts, "The end"]] == [*texts, "The end"]


async def test_rooms_are_separate(app: FastAPI, room: str) -> None:
    """One socket may be in both; who is not in a room can neither hear it nor speak there: the next that
    she hears is what is said in hers, after it was heard next door.
    """
    async with visit(app, room, "Ada") as ada, visit(app, f"{room}-2", "Ben") as ben:
        await ben.say(f"{room}-2", "Next door")
        assert await said(ben) == "Next door"
        await ada.say(room, "Here")
        assert await said(ada) == "Here"
        assert (await ada.say(f"{room}-2", "Hi"))["code"] == "not_joined"
        await ada.enter(f"{room}-2")
        await ben.say(f"{room}-2", "Again")
        assert (await ada.receive("said"))["group"] == f"room.{room}-2"
        assert (await ada.ask("leave", group=f"room.{room}-2"))["type"] == "ok"
        await ben.say(f"{room}-2", "Alone")
        assert [await said(ben) for _ in range(2)] == ["Again", "Alone"]
        await ada.say(room, "Here, too")
        assert await said(ada) == "Here, too"


async def test_text_arrives_as_it_was_written(app: FastAPI, room: str) -> None:
    """Nothing is escaped or lost on the way; spaces around it are cut off."""
    text = '<b>"Grüße"</b>\n{"a": 1} 漢字 🎈'
    async with visit(app, room, "Zoë 🎈") as visitor:
        await visitor.say(room, f"  {text} ")
        message = await visitor.receive("said")
        assert (message["user"]["name"], message["text"]) == ("Zoë 🎈", text)


async def test_a_newcomer_gets_the_last_messages(app: FastAPI, room: str) -> None:
    async with visit(app, room, "Ada") as ada:
        for number in range(5):
            await ada.say(room, f"{number}")
        async with visit(app, name="Ben") as ben:
            joined = await ben.enter(room, history=3)
            texts = [event["text"] for event in joined["events"]]
            assert texts == (["2", "3", "4"] if keeps_history() else [])
            assert joined["complete"]
            await ada.say(room, "5")
            assert await said(ben) == "5"


async def test_who_was_away_gets_what_was_missed_or_is_told(app: FastAPI, room: str) -> None:
    """By the position of the last event, once and in order; with pub/sub none is kept, which is told."""
    async with visit(app, room, "Ada") as ada:
        async with visit(app, name="Ben") as ben:
            position = (await ben.enter(room))["position"]
        for text in ("One", "Two"):
            await ada.say(room, text)
        async with visit(app, cookie=ben.cookie) as ben:
            joined = await ben.enter(room, since=position, history=50)
            texts = [event["text"] for event in joined["events"]]
            assert joined["complete"] == keeps_history()
            assert texts == (["One", "Two"] if keeps_history() else [])
            if keeps_history():
                assert joined["position"] == joined["events"][-1]["position"]
            await ada.say(room, "Three")
            assert await said(ben) == "Three"


async def test_what_http_publishes_is_said_by_who_is_signed_in(
    app: FastAPI, client: httpx.AsyncClient, room: str
) -> None:
    """The same user, whatever the body claims; nobody without a session."""
    said = {"text": "From outside", "user": {"id": "ada"}, "name": "Ada"}
    async with visit(app, room, "Ada") as ada:
        assert (await client.post(f"/rooms/{room}/messages", json=said)).status_code == 401
        await sign_in(client, "Ben")
        assert (await client.post(f"/rooms/{room}/messages", json=said)).status_code == 202
        message = await ada.receive("said")
        ben = (await client.get("/session")).json()["user"]
        assert (message["text"], message["user"]) == ("From outside", ben)
        assert ben["name"] == "Ben"


async def test_nobody_speaks_under_anothers_id(app: FastAPI, room: str) -> None:
    """The same name on another session is another one, whatever a frame claims."""
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ada") as other:
        await other.say(room, "Two", user=ada.user, name="Ada", at="0")
        message = await ada.receive("said")
        assert message["user"] == other.user
        assert ada.user["id"] != other.user["id"]
        assert message["at"] > 0


async def test_the_room_is_told_who_writes_but_seldom(app: FastAPI, room: str) -> None:
    """At most once in three seconds, by no position: it fills no history."""
    async with visit(app, room, "Ada") as ada, visit(app, room, "Ben") as ben:
        for _ in range(3):
            await ada.tell("typing", group=f"room.{room}")
        typing = await ben.receive("typing")
        assert typing == {"type": "typing", "group": f"room.{room}", "user": ada.user}
        await ada.say(room, "Written")
        assert "typing" not in [frame["type"] for frame in await ben.receive_until("said")]
        async with visit(app, name="Cy") as cy:
            events = (await cy.enter(room, history=50))["events"]
            assert [event["type"] for event in events] == ["said"] * keeps_history()


async def test_a_room_knows_who_is_there(app: FastAPI, room: str) -> None:
    """One member for all devices of a user, who has left when the last of them has gone."""
    Presence(channel_layers["default"], grace=0)
    async with visit(app, room, "Ada") as ada, visit(app, name="Ben") as ben:
        for _ in range(2):  # also a page that joins again
            joined = await ben.enter(room)
            alone = {"connections": 1}
            assert joined["members"] == [{**ben.user, **alone}, {**ada.user, **alone}]
            assert joined["member_count"] == 2
        told = await ada.receive("presence")
        assert told == {
            "type": "presence",
            "group": f"room.{room}",
            "joined": [{**ben.user, "connections": 1}],
            "left": [],
            "count": 2,
        }
        async with visit(app, room, cookie=ben.cookie):
            told = await ada.receive("presence")
            assert (told["joined"], told["count"]) == ([{**ben.user, "connections": 2}], 2)
        assert (await ada.receive("presence"))["joined"] == [{**ben.user, "connections": 1}]
        await ben.ask("leave", group=f"room.{room}")
        told = await ada.receive("presence")
        assert (told["joined"], told["left"], told["count"]) == ([], [ben.user["id"]], 1)


@pytest.mark.parametrize("of", [(RecoveryMixin, "join"), (Presence, "watch")])
async def test_a_join_that_fails_leaves_nobody_in_the_room(
    app: FastAPI, room: str, monkeypatch: pytest.MonkeyPatch, of: tuple[type, str]
) -> None:
    """Whatever of it had been done already; the page may try again."""
    presence = Presence(channel_layers["default"], grace=0)

    async def fail(*arguments: object, **options: object) -> None:
        raise ChannelLayerUnavailable("cut off in the middle")

    async with visit(app, name="Ada") as ada:
        with monkeypatch.context() as patch:
            patch.setattr(*of, fail)
            assert (await ada.ask("join", group=f"room.{room}"))["code"] == "unavailable"
        assert await presence.members(f"room.{room}") == []
        async with visit(app, room, "Ben") as ben:
            await ben.tell("typing", group=f"room.{room}")
            await ben.say(room, "Heard after it")
            await said(ben)
            assert [one["id"] for one in (await ada.enter(room))["members"]] == [
                *(ada.user["id"], ben.user["id"])
            ]
            await ben.say(room, "Now")
            heard = await ada.receive_until("said")
            assert "typing" not in [frame["type"] for frame in heard]
            assert heard[-1]["text"] == "Now"


async def test_the_app_is_live_and_ready(client: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/health/ready"):
        response = await client.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})
