"""People before the page in a real browser, and a stand-in for the server. Needs Playwright."""

import json
import shutil
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Self

import httpx
import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Error,
    Locator,
    Page,
    Route,
    ViewportSize,
    WebSocketRoute,
    expect,
    sync_playwright,
)

# The first one has no windows to draw, which are a third of the work of the others.
CHROMIUM_NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
CHROMIUM_FLAGS = [
    "--no-sandbox",  # containers, where most pipelines run, offer no user namespace for it
    "--disable-background-networking",
    "--disable-dev-shm-usage",
    "--disable-gpu",  # what imitates one costs more than it saves
    "--in-process-gpu",  # and needs no process of its own
    # Each window's address bar has a page of its own for what it proposes, in a process of its own: more
    # than half of the browser's work. So has the window that may come next.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,SpareRendererForSitePerProcess",
]
PATIENCE = 40_000  # ms; the longest pause of the page is 15 s, a busy machine doubles it

SIZE: ViewportSize = {"width": 1280, "height": 720}  # Playwright's own

expect.set_options(timeout=PATIENCE)


@contextmanager
def open_browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        bundled = playwright.chromium.executable_path
        path = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), bundled)
        if not Path(path).exists():
            pytest.skip(
                "needs Chromium on PATH: apt-get install chromium, brew install --cask chromium, "
                "or uv run playwright install chromium"
            )
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@dataclass
class Idle:
    """Windows that are kept from test to test, for each costs more than what most tests do in it."""

    joined: dict[tuple[str, str], list[Page]] = field(default_factory=lambda: defaultdict(list))
    """By name and address: of somebody who is signed in there."""
    stand_ins: list["StandIn"] = field(default_factory=list)

    def contexts(self) -> set[BrowserContext]:
        pages = chain(*self.joined.values(), (one.page for one in self.stand_ins))
        return {page.context for page in pages}


class Visitors:
    """Opens pages, each in a browser profile of its own, and gathers what they complain about."""

    def __init__(self, browser: Browser, url: str, idle: Idle) -> None:
        self.browser = browser
        self.url = url
        self.idle = idle
        self.room = uuid.uuid4().hex
        self.errors: list[str] = []
        self.outage_expected = False
        self._joined: list[tuple[str, str, Page]] = []
        self._stand_ins: list[StandIn] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *others: object) -> None:
        if kind is None:
            self._keep()
        kept = self.idle.contexts()
        for context in self.browser.contexts:
            if context not in kept:
                context.close()
        assert kind or self.errors == []

    def _keep(self) -> None:
        """Those who are in, each with one page, and stand-ins."""
        for name, url, page in self._joined:
            if not page.is_closed() and state(page).text_content() == "Online":
                for other in page.context.pages:
                    if other is not page:
                        other.close()
                self._listen_no_more(page)
                self.idle.joined[name, url].append(page)
        for stand_in in self._stand_ins:
            self._listen_no_more(stand_in.page)
            self.idle.stand_ins.append(stand_in)

    def _listen_no_more(self, page: Page) -> None:
        page.remove_listener("console", self.note)
        page.remove_listener("pageerror", self.note_error)

    def arrive(self, url: str = "", **context: Any) -> Page:
        """A page of the test's own, before the form."""
        return self.open(self.new_page(**context), url)

    def new_page(self, **context: Any) -> Page:
        """In a window of its own."""
        return self.browser.new_context(**context).new_page()

    def open(self, page: Page, url: str = "") -> Page:
        page.on("console", self.note)
        page.on("pageerror", self.note_error)
        page.goto(f"{url or self.url}/?room={self.room}")
        return page

    def join(self, name: str, url: str = "", **context: Any) -> Page:
        """Somebody in this test's room: one who was in another test's before, unless `context` is given."""
        url = url or self.url
        if context:
            return self.sign_in(name, url, **context)
        idle = self.idle.joined[name, url]
        page = is_in(self.open(idle.pop(), url)) if idle else self.sign_in(name, url)
        self._joined.append((name, url, page))
        return page

    def sign_in(self, name: str, url: str = "", **context: Any) -> Page:
        """A user whom no other test knows."""
        page = self.arrive(url, **context)
        fill_in(page, name)
        return is_in(page)

    def before_stand_in(self, size: ViewportSize = SIZE, **answers: Any) -> tuple[Page, "StandIn"]:
        """A page that is on-line, and the one that answers instead of the server."""
        if self.idle.stand_ins:
            stand_in = self.idle.stand_ins.pop()
            stand_in.begin(**answers)
        else:
            stand_in = StandIn(self.new_page(), **answers)
        self._stand_ins.append(stand_in)
        stand_in.page.set_viewport_size(size)
        self.open(stand_in.page)
        expect(state(stand_in.page)).to_have_text("Online")
        return stand_in.page, stand_in

    def again(self, page: Page, url: str = "") -> Page:
        """Another tab of the same browser, which is signed in there."""
        return is_in(self.open(page.context.new_page(), url))

    def note_error(self, error: Error) -> None:
        self.errors.append(str(error))

    def note(self, message: ConsoleMessage) -> None:
        # The browser itself reports that nobody is signed in, and each refused connection.
        expected = "status of 401" in message.text or "status of 422" in message.text
        refused = "WebSocket connection to" in message.text or "net::ERR_" in message.text
        if message.type in ("error", "warning") and not (
            expected or (self.outage_expected and refused)
        ):
            self.errors.append(message.text)

    def publish(self, text: str, name: str = "Robot") -> None:
        """Say something over HTTP."""
        with httpx.Client(base_url=self.url) as client:
            assert client.post("/session", json={"name": name}).status_code == 200
            answer = client.post(f"/rooms/{self.room}/messages", json={"text": text})
            assert answer.status_code == 202


def fill_in(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Join").click()


def is_in(page: Page) -> Page:
    """Wait until it is in its room, which it tells by the members."""
    expect(state(page)).to_have_text("Online")
    expect(page.locator("#people-count")).not_to_have_text("0")
    return page


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def write(page: Page, *texts: str) -> None:
    """As `say`, many at once: the outbox takes 50."""
    page.evaluate(
        """(texts) => {
            for (const text of texts) {
                document.getElementById("text").value = text;
                document.getElementById("composer").requestSubmit();
            }
        }""",
        list(texts),
    )


def keep_writing(author: str, page: Page, pause: int = 250) -> None:
    """Write "author 0", "author 1" ... by itself, one each `pause` ms, until `stop_writing`."""
    page.evaluate(
        """([author, pause]) => {
            const [text, form] = ["text", "composer"].map((id) => document.getElementById(id));
            window.written = 0;
            window.writing = setInterval(() => {
                text.value = `${author} ${window.written}`;
                form.requestSubmit();
                window.written += text.value === "" ? 1 : 0; // else the outbox is full
            }, pause);
        }""",
        [author, pause],
    )


def stop_writing(*pages: Page) -> int:
    """How many were written by all, which is more than none by each."""
    for page in pages:
        page.evaluate("() => { clearInterval(window.writing); text.value = ''; }")
    written = [page.evaluate("window.written") for page in pages]
    assert all(written)
    return sum(written)


def state(page: Page) -> Locator:
    return page.locator("#state")


def texts(page: Page) -> Locator:
    return page.locator("#log .text")


def pending(page: Page) -> Locator:
    return page.locator("#outbox > li")


def members(page: Page) -> Locator:
    return page.locator("#members .name")


def ask(page: Page, prompt: str) -> Locator:
    """The row of a new job that answers."""
    page.get_by_placeholder("Ask something").fill(prompt)
    page.get_by_role("button", name="Ask", exact=True).click()
    return page.locator("#jobs > li").first


def hide(page: Page, is_hidden: bool) -> None:
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        is_hidden,
    )


def count(where: str, sent: int, *pages: Page) -> None:
    """What was shown of what was sent: each message once, in one order for all, each author's as written."""
    for page in pages:
        expect(texts(page)).to_have_count(sent)
    shown = [texts(page).all_text_contents() for page in pages]
    doubled = sum(len(one) - len(set(one)) for one in shown)
    disorder = sum(one != shown[0] for one in shown)
    for author in ("Ada ", "Ben "):
        own = [text for text in shown[0] if text.startswith(author)]
        disorder += own != sorted(own, key=lambda text: int(text.split()[1]))
    numbers = ", ".join(str(len(one)) for one in shown)
    print(f"{where}: sent {sent}, shown {numbers}, doubled {doubled}, out of order {disorder}")
    assert (doubled, disorder) == (0, 0)


def send_all(page: Page) -> None:
    """Until nothing is pending: what is left to its author goes out again."""
    deadline = time.monotonic() + PATIENCE / 1000
    while waiting := pending(page).all_text_contents():
        assert time.monotonic() < deadline, waiting
        page.evaluate(
            """() => document.querySelectorAll("#outbox .again")
                .forEach((button) => button.checkVisibility() && button.click())"""
        )
        page.wait_for_timeout(100)


class StandIn:
    """A server for one page: it answers what is asked by `answers`, by type of frame, or says nothing."""

    def __init__(self, page: Page, **answers: Any) -> None:
        self.page = page
        self.begin(**answers)
        page.route_web_socket("**/ws/**", self.meet)
        page.route("**/session", self.sign_in)

    def begin(self, **answers: Any) -> None:
        """As if nobody had been there before."""
        self.answers = answers
        self.away = False  # refuses connections
        self.asked: list[dict[str, Any]] = []
        self.user = {"id": "u-1", "name": "Ada"}
        self.session: dict[str, Any] = {"user": self.user, "sign_in": "name", "expires_at": 2e9}

    def sign_in(self, route: Route) -> None:
        route.fulfill(json=self.session, status=200 if "user" in self.session else 401)

    def meet(self, route: WebSocketRoute) -> None:
        if self.away:
            route.close(code=1012)
            return
        self.route = route
        route.on_message(lambda text: self.hear(json.loads(text)))
        self.tell(type="welcome", user=self.user, expires_in=3600)

    def hear(self, frame: dict[str, Any]) -> None:
        self.asked.append(frame)
        answer = self.answers.get(frame["type"])
        if answer is not None:
            self.answer(frame, **(answer(frame) if callable(answer) else answer))

    def answer(self, frame: dict[str, Any], **answer: Any) -> None:
        self.tell(reply_to=frame["id"], **answer)

    def tell(self, **frame: Any) -> None:
        self.route.send(json.dumps(frame))


def joined(complete: bool = True, *events: dict[str, Any]) -> Callable[[Any], dict[str, Any]]:
    return lambda frame: {
        "type": "joined",
        "group": frame["group"],
        "complete": complete,
        "position": "p1",
        "events": list(events) if frame["group"].startswith("room.") else [],
    }
