"""The rules of names, and capacities by name."""

import re
from typing import Any

import pytest

from fast_channels import names
from fast_channels.exceptions import InvalidNameError
from fast_channels.layers import BaseChannelLayer

GOOD_FOR_BOTH = ["a", "chat.room-1_B", "9", "-", "x" * 99]
CHANNELS_ONLY = ["specific.abc!def", "web.abc!"]
BAD: list[Any] = [
    "",
    "x" * 100,
    "a b",
    "a/b",
    "a:b",
    "ž",
    "a\n",
    "a!b!c",
    "!a",
    b"a",
    None,
    1,
    ["a"],
]


@pytest.mark.parametrize("name", GOOD_FOR_BOTH + CHANNELS_ONLY)
def test_a_valid_channel_name(name: str) -> None:
    """Letters, digits, `-`, `_`, `.`, and one `!` that is not first; under 100 characters."""
    names.check_channel_name(name)


@pytest.mark.parametrize("name", GOOD_FOR_BOTH)
def test_a_valid_group_name(name: str) -> None:
    """As a channel's, without the `!`."""
    names.check_group_name(name)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_is_shown(name: Any) -> None:
    """The error says what is expected and shows what came."""
    with pytest.raises(InvalidNameError, match="1 to 99 ASCII letters") as caught:
        names.check_channel_name(name)
    assert repr(name) in str(caught.value)
    with pytest.raises(InvalidNameError):
        names.check_group_name(name)


@pytest.mark.parametrize("name", CHANNELS_ONLY)
def test_a_group_is_never_process_local(name: str) -> None:
    """A `!` is refused, and the message for groups does not offer one."""
    with pytest.raises(InvalidNameError) as caught:
        names.check_group_name(name)
    assert "at most one !" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "head"), [("a.b!c", "a.b!"), ("a!", "a!"), ("plain", "plain"), ("", "")]
)
def test_the_non_local_part(name: str, head: str) -> None:
    """Everything up to the `!`, with it."""
    assert BaseChannelLayer().non_local_name(name) == head
    assert (names.owner_of(name) is not None) == ("!" in name)


def test_the_first_pattern_that_matches_gives_the_capacity() -> None:
    """A str is a glob over the whole name, a compiled pattern matches from the start."""
    layer = BaseChannelLayer(
        capacity=9,
        channel_capacity={"http.request": 1, "http.*": 2, re.compile("^web"): 3, "*!*": 4},
    )
    chosen = {
        name: layer.get_capacity(name)
        for name in ("http.request", "http.request.x", "website", "a!b", "other", "xhttp.y")
    }
    assert chosen == {
        "http.request": 1,
        "http.request.x": 2,
        "website": 3,
        "a!b": 4,
        "other": 9,
        "xhttp.y": 9,
    }
