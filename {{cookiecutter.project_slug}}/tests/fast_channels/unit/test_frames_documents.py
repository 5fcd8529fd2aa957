"""What is made of the models of frames: AsyncAPI, its page, TypeScript, and the command for the latter.

The official parser of AsyncAPI and TypeScript's compiler read them in the template's own tests.
"""

import json
import os
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Literal

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import Field

from fast_channels.frames import AsyncAPI, Frame, FrameConsumer, handles, typescript
from fast_channels.frames.page import page as html_page

from ..support.programs import Ended, run
from ..support.sample_frames import Chat, Typing

TESTS = Path(__file__).parents[3]
SAMPLE = "tests.fast_channels.support.sample_frames:Chat"


class Quiet(FrameConsumer):
    incoming = Typing

    @handles
    async def typing(self, frame: Typing) -> None: ...


@pytest.fixture(scope="module")
def api() -> AsyncAPI:
    paths = {"/ws/chat/{room}": Chat, "/ws/quiet": Quiet, "/ws/old/{rest:path}": Quiet}
    return AsyncAPI("Chat & <co>", "1.2", paths, "For <everybody>.")


@pytest.fixture(scope="module")
def document(api: AsyncAPI) -> Any:
    return json.loads(api.json)


@pytest.fixture(scope="module")
def browser(api: AsyncAPI) -> TestClient:
    app = FastAPI()
    api.serve(app)
    return TestClient(app)


# AsyncAPI


def test_an_application_serves_them(browser: TestClient, document: Any) -> None:
    """The document, its page and the page's style, each by its type, and for GET alone."""
    answers = {name: browser.get(f"/asyncapi{name}") for name in ("", ".json", ".css")}
    assert {name: one.headers["content-type"] for name, one in answers.items()} == {
        "": "text/html; charset=utf-8",
        ".json": "application/json; charset=utf-8",
        ".css": "text/css; charset=utf-8",
    }
    assert answers[".json"].json() == document
    assert browser.head("/asyncapi").content == b""
    assert browser.post("/asyncapi.json").status_code == 405


def test_a_path_is_a_channel(document: Any) -> None:
    """With its parameters, whatever they are converted to; a class of two paths is told apart."""
    channels = document["channels"]
    assert {name: one["address"] for name, one in channels.items()} == {
        "Chat": "/ws/chat/{room}",
        "Quiet": "/ws/quiet",
        "Quiet_2": "/ws/old/{rest}",
    }
    assert channels["Chat"]["parameters"].keys() == {"room"}
    assert channels["Chat"]["description"] == "One person in one room.\n\nIn two paragraphs."
    assert "description" not in channels["Quiet"]


def test_a_frame_is_an_operation_with_its_reply(document: Any) -> None:
    """The server receives it, and may answer with what the handler returns or an error."""
    operation = document["operations"]["Chat.Fail"]
    assert operation["action"] == "receive"
    assert [one["$ref"] for one in operation["messages"]] == ["#/channels/Chat/messages/Fail"]
    names = [one["$ref"].rpartition("/")[2] for one in operation["reply"]["messages"]]
    assert names == ["Said", "OkFrame", "ErrorFrame"]
    sent = document["operations"]["Chat.send"]["messages"]
    assert [one["$ref"].rpartition("/")[2] for one in sent] == [
        *("Said", "Moved", "Typing-Output", "OkFrame", "ErrorFrame")
    ]


def test_docs_of_models_are_in_the_document(document: Any) -> None:
    """Those of a class and those of a field."""
    message = document["components"]["messages"]["Message"]
    assert (message["name"], message["summary"]) == ("message", "What somebody says.")
    schema = document["components"]["schemas"]["Message"]
    assert schema["properties"]["text"]["description"] == "What is said."
    assert document["components"]["messages"]["Move"]["name"] == "move.left or move.right"


def test_the_document_tells_the_wire(document: Any) -> None:
    """A client's type is required though the model has a default; what can be an answer has reply_to."""
    schemas = document["components"]["schemas"]
    assert "type" in schemas["Message"]["required"]
    assert schemas["Typing-Input"]["required"] == ["type"]
    assert set(schemas["Typing-Output"]["required"]) == {"id", "type", "since", "price"}
    found = {name for name, one in schemas.items() if "reply_to" in one.get("properties", {})}
    assert found == {"Moved", "Said", "OkFrame", "ErrorFrame"}


# The page


class Page(HTMLParser):
    """What a browser finds in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def page(browser: TestClient) -> Page:
    return Page(browser.get("/asyncapi").text)


def test_the_page_keeps_a_strict_policy(page: Page) -> None:
    """``default-src 'self'``: no script, nothing inline, nothing from another host."""
    assert not {tag for tag, _ in page.tags} & {"script", "style", "img", "iframe", "object"}
    assert not {name for _, attributes in page.tags for name in attributes} & {"style", "onclick"}
    links = [
        value for _, found in page.tags for name, value in found.items() if name in ("href", "src")
    ]
    assert links == ["asyncapi.css", "asyncapi.json"]


def test_the_page_shows_all_of_it(page: Page) -> None:
    """Each path, type, field, doc and answer; text as text, whatever it looks like."""
    for text in (
        "Chat & <co>",
        "For <everybody>.",
        "/ws/chat/{room}",
        "move.left or move.right",
        "how far",
        "≥ 1, ≤ 10, 1 if left out",
        "What is said. length ≥ 1, length ≤ 2000",
        "Answered by said or ok or error, if it has an id.",
        "<b>looks like HTML</b>",
        "Parts of frames",
        '"good" | "bad"',
        "Place_Input",
    ):
        assert text in page.text, text
    assert "said if left out" not in page.text
    assert "b" not in {tag for tag, _ in page.tags}


def test_a_name_is_no_markup() -> None:
    """Whatever a type, a field, an enum, a default or a path is called."""
    tag = "<u title='x'>\"&</u>"

    class Odd(Frame):
        type: Literal["<u>"]
        field: Literal["<u>", "</u>"] = Field(default="<u>", alias=tag, description=tag)

    class Hostile(FrameConsumer):
        incoming = Odd

        @handles
        async def odd(self, frame: Odd) -> None: ...

    document = AsyncAPI(tag, tag, {f"/{tag}": Hostile}, tag).document
    page = Page(html_page(document, "/asyncapi"))
    assert "u" not in {name for name, _ in page.tags}
    assert (
        page.text.count(tag) == 7
    )  # the title twice, version, description, path, field, its description


def test_what_a_doc_says_of_code_is_shown_as_code() -> None:
    """Of a consumer, a model and a field; also what would be markup."""

    class Ask(Frame):
        """Asks for ``<u>``."""

        type: Literal["ask"] = "ask"
        what: str = Field(description="As in ``x < y``.")

    class Asked(FrameConsumer):
        """Of ``/session``."""

        incoming = Ask

        @handles
        async def ask(self, frame: Ask) -> None: ...

    shown = html_page(AsyncAPI("Ask", "1", {"/ask": Asked}).document, "/asyncapi")
    assert "``" not in shown
    for text in ("<code>/session</code>", "<code>&lt;u&gt;</code>", "<code>x &lt; y</code>"):
        assert text in shown


def test_the_page_is_small(browser: TestClient) -> None:
    """A few kB for each model, and a style of two."""
    assert len(browser.get("/asyncapi").content) < 20_000
    assert len(browser.get("/asyncapi.css").content) < 2_000


# TypeScript


def test_a_consumer_is_an_interface() -> None:
    """What is sent, what is received, and which reply each type of frame has."""
    text = typescript(Chat)
    (body,) = re.findall(r"export interface Chat \{\n(.*?)\n\}", text, re.DOTALL)
    assert body.splitlines() == [
        "  sends: Message | Move | Fail | Typing_Input;",
        "  receives: Said | Moved | Typing_Output | OkFrame | ErrorFrame;",
        "  replies: {",
        "    message: OkFrame;",
        '    "move.left": Moved;',
        '    "move.right": Moved;',
        "    fail: Said | OkFrame;",
        "    typing: OkFrame;",
        "  };",
    ]


@pytest.mark.parametrize(
    "line",
    [
        '  type: "message";',
        "  /** What is said. */",
        "  text: string;",
        "  mood?: Mood;",
        "  place?: Place_Input | null;",
        "  pet?: Cat | Dog | null;",
        "  marks?: { [name: string]: number };",
        "  anything?: unknown;",
        "  words?: Array<string>;",
        '  "how far"?: number;',
        '  type: "move.left" | "move.right";',
        'export type Mood = "good" | "bad";',
        "  at: [number, number];",
        "  price?: number | string;",
        "  price: string;",
        "  [name: string]: unknown;",
    ],
)
def test_types_are_typescripts(line: str) -> None:
    """Each kind of field, with its doc; what may be left out, and what is always sent."""
    assert line in typescript(Chat).splitlines()


def test_a_doc_ends_no_comment() -> None:
    """Whatever it says."""
    assert "ends a comment: * / and" in typescript(Chat)


def test_the_same_models_give_the_same_text() -> None:
    """In any order of consumers' frames, so that a copy can be compared."""
    assert typescript(Chat, Quiet) == typescript(Chat, Quiet)
    models = typescript(Chat, Quiet).partition("export interface Cat")[2]
    assert models == typescript(Quiet, Chat).partition("export interface Cat")[2]


# The command

Command = Callable[..., Ended]


@pytest.fixture
def types() -> Command:
    """Runs the command, without anything that knows layers."""

    env = dict(os.environ)
    env.pop("FAST_CHANNELS_LAYERS", None)
    return lambda *arguments: run("fast_channels", "types", *arguments, cwd=TESTS, env=env)


def test_the_command_prints_or_writes(types: Command, tmp_path: Path) -> None:
    """What ``typescript`` gives."""
    file = tmp_path / "frames.d.ts"
    assert types(SAMPLE).output == typescript(Chat)
    written = types(SAMPLE, "--output", str(file))
    assert (written.status, written.output) == (0, "")
    assert file.read_text(encoding="utf-8") == typescript(Chat)


def test_the_command_notices_an_old_file(types: Command, tmp_path: Path) -> None:
    """With --check it writes nothing, and fails where the models have changed since."""
    file = tmp_path / "frames.d.ts"
    assert types(SAMPLE, "--output", str(file), "--check").status == 1
    file.write_text(typescript(Chat), encoding="utf-8")
    assert types(SAMPLE, "--output", str(file), "--check").status == 0
    file.write_text("old", encoding="utf-8")
    checked = types(SAMPLE, "--output", str(file), "--check")
    assert (checked.status, file.read_text(encoding="utf-8")) == (1, "old")
    assert checked.errors == f"{file} is out of date: run this command without --check\n"


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["nowhere:Chat"], "No module named 'nowhere'"),
        ([SAMPLE.replace(":Chat", ":Nobody")], "Nobody"),
        ([SAMPLE.replace(":Chat", ":Said")], "is no FrameConsumer"),
        ([SAMPLE, "--check"], "--check needs --output"),
        ([], "Missing argument"),
    ],
)
def test_wrong_arguments_of_the_command(types: Command, arguments: list[str], error: str) -> None:
    """Exit status 2, and what is wrong; no traceback."""
    done = types(*arguments)
    assert done.status == 2
    assert error in done.errors
    assert "Traceback" not in done.errors
