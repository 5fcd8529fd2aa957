"""From Pydantic's errors to what a client is told.

Invariants
- Nothing of what the client sent is repeated: no value, no key of its own choice, no part of a message that
  quotes it. What a validator of the app says in a ``ValueError`` is the app's own sentence, and is passed on.
- At most ``MOST_LISTED`` problems are told; of more than ``MOST_COUNTED`` none, since to collect them
  takes 3 us each, and a list in one frame may hold half a million.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from .models import Problem, Refused

MOST_LISTED = 10
MOST_COUNTED = 100

NOT_JSON = "A frame must be JSON, as text."
NO_FRAMES = "This socket takes no frames."
NO_OBJECT = "A frame must be a JSON object."
TOO_MANY = f"There are more than {MOST_COUNTED} errors in the frame."

# Of the server's own making: the union found no model for what came.
UNKNOWN_TYPE = "frame_type"
CHOSEN_BY_CLIENT = "*"


def refusal(error: ValidationError, names: Collection[str]) -> Refused:
    """What the frame is refused with; ``names`` are those that the models know."""
    count = error.error_count()
    if count > MOST_COUNTED:
        return Refused(TOO_MANY, "invalid")
    errors = error.errors(include_url=False, include_input=False)
    kind, place = errors[0]["type"], errors[0]["loc"]
    if kind in ("json_invalid", "string_unicode") and not place:
        return Refused(NOT_JSON, "not_json")
    if kind == "dict_type" and not place:
        return Refused(NO_OBJECT, "invalid")
    problems = [problem(one, names) for one in errors[:MOST_LISTED]]
    return Refused(sentence(problems[0].loc, problems[0].msg), "invalid", problems)


def problem(error: Mapping[str, Any], names: Collection[str]) -> Problem:
    """The first part of a place in a union is the frame's type, which the client knows."""
    place = ("type",) if error["type"] == UNKNOWN_TYPE else error["loc"][1:]
    loc = [known(part, names) for part in place]
    return Problem(loc=loc, msg=message(error), type=error["type"])


def known(part: str | int, names: Collection[str]) -> str | int:
    return part if isinstance(part, int) or part in names else CHOSEN_BY_CLIENT


def message(error: Mapping[str, Any]) -> str:
    """Pydantic's, without what it quotes of the input."""
    kind, text = error["type"], str(error["msg"])
    if kind == "union_tag_invalid":
        context = error["ctx"]
        return f"{context['discriminator']} should be one of {context['expected_tags']}"
    if kind in ("value_error", "assertion_error"):
        return text.partition(", ")[2] or text
    return text.partition(",")[0] if kind.endswith(("_parsing", "_violation")) else text


def sentence(loc: Iterable[str | int], text: str) -> str:
    path = ".".join(map(str, loc))
    return f"{path}: {text}" if path else text


def describe(errors: Iterable[Mapping[str, Any]]) -> str:
    """The first of ``error.errors()``, also FastAPI's, in a sentence without the input.

    Keys of a dict are shown: where a client chooses them they are input.
    """
    first = next(iter(errors))
    return sentence(first["loc"], message(first))
