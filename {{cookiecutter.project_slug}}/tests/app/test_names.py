"""Names and texts: what a reader cannot see, or what turns other text around, goes nowhere."""

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given, settings, strategies as st
from pydantic import TypeAdapter, ValidationError

from {{ cookiecutter.project_slug }}.visible import Name, Text

from .visitors import visit

NAME: TypeAdapter[str] = TypeAdapter(Name)
TEXT: TypeAdapter[str] = TypeAdapter(Text)

UNSEEN = {
    "Hangul filler": "\u3164",
    "Hangul choseong filler": "\u115f",
    "halfwidth Hangul filler": "\uffa0",
    "Braille blank": "\u2800",
    "null note head": "\U0001d159",
    "soft hyphen": "\u00ad",
    "grapheme joiner": "\u034f",
    "Khmer inherent vowel": "\u17b4",
    "Mongolian selector": "\u180b",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "variation selector": "\ufe0f",
    "supplementary selector": "\U000e0100",
    "tag letter": "\U000e0041",
    "right-to-left override": "\u202e",
    "right-to-left mark": "\u200f",
    "isolate": "\u2067",
    "em space": "\u2003",
    "line separator": "\u2028",
    "escape": "\x1b",
    "private use": "\ue000",
    "no character": "\U0010ffff",
    "accents that pile up": "\u0301" * 6,
}

both = pytest.mark.parametrize("unseen", UNSEEN.values(), ids=UNSEEN.keys())


@both
def test_a_name_may_hold_nothing_that_is_not_seen(unseen: str) -> None:
    """Neither alone nor within: "Ad\u200ba" would look like another one's name."""
    for name in (f"Ad{unseen}a", f"{unseen}{unseen}"):
        with pytest.raises(ValidationError):
            NAME.validate_python(name)


@pytest.mark.parametrize("name", ["\u0301", "\u0301\u0302da", "A \u0301da", "\u20dd"])
def test_accents_need_a_letter_to_stand_on(name: str) -> None:
    with pytest.raises(ValidationError):
        NAME.validate_python(name)


@pytest.mark.parametrize(
    "name",
    [
        "Ada",
        "Zoë 🎈",
        "❤️",
        "李小龍",
        "Нина",
        "עדה",
        "عائشة",
        "हिन्दी",
        "မြို့",
        "Nguyễn",
        "O'Neil-2",
        "👍🏽",
    ],
)
def test_names_of_the_world_are_names(name: str) -> None:
    assert NAME.validate_python(name) == name


def test_one_look_is_one_name() -> None:
    """Composed accents, and one space, whatever was typed."""
    assert NAME.validate_python("  Zoe\u0308   B ") == "Zo\u00eb B"


@settings(database=None)
@given(st.text(max_size=60))
def test_whatever_is_accepted_as_a_name_is_printable_and_stays_as_it_is(name: str) -> None:
    try:
        accepted = NAME.validate_python(name)
    except ValidationError:
        return
    assert accepted.isprintable()
    assert NAME.validate_python(accepted) == accepted


def test_a_text_loses_what_would_reorder_it_or_drive_a_terminal() -> None:
    """Marks of direction, joined emoji and line ends are part of writing, and stay."""
    assert TEXT.validate_python("pay \u202egnp.exe\u2069 \x1b[31m\x00now") == "pay gnp.exe [31mnow"
    kept = "שלום\u200f!\n👩\u200d🚀\tok"
    assert TEXT.validate_python(kept) == kept
    assert TEXT.validate_python("one\r\ntwo") == "one\ntwo"


@pytest.mark.parametrize("text", ["\u3164", "\u200b\u200b", "\u202e", "\u2800 \u3164", "\u0301"])
def test_a_text_must_hold_something_visible(text: str) -> None:
    with pytest.raises(ValidationError):
        TEXT.validate_python(text)


@pytest.mark.parametrize("name", ["\u3164", "A\u202eda"])
async def test_nobody_signs_in_under_such_a_name(client: httpx.AsyncClient, name: str) -> None:
    response = await client.post("/session", json={"name": name})
    expected = {"detail": "name: must hold visible characters only"}
    assert (response.status_code, response.json()) == (422, expected)


async def test_a_rooms_texts_arrive_without_bidi_controls(app: FastAPI, room: str) -> None:
    async with visit(app, room) as ada:
        await ada.say(room, "\u202eevil")
        assert (await ada.receive("said"))["text"] == "evil"
