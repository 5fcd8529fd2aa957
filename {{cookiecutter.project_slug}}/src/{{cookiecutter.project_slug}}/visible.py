"""Which characters a reader can see: a name that looks empty, or like another one, names nobody.

The sets follow Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt) and Bidi_Control, which
the standard library does not know, and add what fonts draw as nothing.
"""

import re
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

# Default ignorable; then the empty Braille pattern and the null note head.
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff"
    "\u2800\U0001d159]"
)
# What would reorder the text around it or be obeyed by a terminal. Marks that only say which way a letter
# runs (U+200E, U+200F, U+061C) stay, since right-to-left text needs them.
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
EMOJI_STYLE = "\ufe0f"  # phones put it behind many emoji
MOST_MARKS = 5  # on one letter; Burmese needs four


def visible_line(text: str) -> str:
    """`text` in normal form (NFC), each run of spaces as one; `ValueError` if a part of it is not seen."""
    text = re.sub(" +", " ", unicodedata.normalize("NFC", text))
    before, marks = " ", 0
    for character in text:
        if character == EMOJI_STYLE and unicodedata.category(before) == "So":
            continue
        if not character.isprintable() or INVISIBLE.match(character):
            raise ValueError("must hold visible characters only")
        marks = marks + 1 if is_mark(character) else 0
        if marks > MOST_MARKS or (marks and before == " "):
            raise ValueError("must hold letters below its accents")
        before = character
    return text


def readable(text: str) -> str:
    """`text` without control characters and bidi controls; `ValueError` if nothing visible is left."""
    text = OBEYED.sub("", text.replace("\r\n", "\n")).strip()
    if not any(map(is_visible, text)):
        raise ValueError("must hold something visible")
    return text


def is_visible(character: str) -> bool:
    """Whether it shows by itself: no space, no accent, nothing that fonts leave out."""
    return (
        character.isprintable()
        and not character.isspace()
        and not is_mark(character)
        and not INVISIBLE.match(character)
    )


def is_mark(character: str) -> bool:
    """Whether it is drawn onto the character before it."""
    return unicodedata.category(character).startswith("M")


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=50),
    AfterValidator(visible_line),
    Field(description="1 to 50 visible characters in one line"),
]
Text = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=2000),
    AfterValidator(readable),
    Field(description="1 to 2000 characters, some of them visible"),
]
