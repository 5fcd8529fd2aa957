"""The page in a real browser: Chromium, driven by Playwright, against a running server.

Where one of the two is missing these tests are skipped and the summary says how to get it.
"""

import json
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("playwright.sync_api", reason="needs Playwright: uv sync --group browser")

from playwright.sync_api import (
    Browser,
    ConsoleMessage,
    Page,
    WebSocketRoute,
    expect,
    sync_playwright,
)

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = [
    "--no-sandbox",  # containers, where most pipelines run, offer no user namespace for it
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]
RECONNECT_TIMEOUT = 40_000  # ms; the longest pause of the page is 15 s, a busy machine doubles it
HOSTILE = '<img src=x onerror="window.intruded = true"><script>window.intruded = true</script>'


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
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


class Visitors:
    """Opens pages, each in a browser profile of its own, and gathers what they complain about."""

    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = url
        self.room = uuid.uuid4().hex
        self.errors: list[str] = []
        self.outage_expected = False

    def arrive(self, **context: Any) -> Page:
        page = self.browser.new_context(**context).new_page()
        page.on("console", self.note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(f"{self.url}/?room={self.room}")
        return page

    def join(self, name: str, **context: Any) -> Page:
        page = self.arrive(**context)
        fill_in(page, name)
        expect(state(page)).to_have_text("Online")
        return page

    def note(self, message: ConsoleMessage) -> None:
        # The browser itself reports each refused connection; a page cannot prevent that.
        refused = message.text.startswith("WebSocket connection to")
        if message.type in ("error", "warning") and not (self.outage_expected and refused):
            self.errors.append(message.text)


@pytest.fixture
def visitors(browser: Browser, server: Any) -> Iterator[Visitors]:
    visitors = Visitors(browser, server.url)
    yield visitors
    for context in browser.contexts:
        context.close()
    assert visitors.errors == []


def fill_in(page: Page, name: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Join").click()


def say(page: Page, text: str) -> None:
    page.get_by_label("Message", exact=True).fill(text)
    page.get_by_role("button", name="Send", exact=True).click()


def state(page: Page) -> Any:
    return page.locator("#state")


def texts(page: Page) -> Any:
    return page.locator("#log .text")


def pending(page: Page) -> Any:
    return page.locator("#outbox > li")


def test_two_people_chat(visitors: Visitors) -> None:
    ada, ben = visitors.join("Ada"), visitors.join("Ben")
    expect(ada.get_by_text("Ben joined")).to_be_visible()
    say(ada, "Hello Ben")
    say(ben, "Hello Ada")
    for page in (ada, ben):
        expect(texts(page)).to_have_text(["Hello Ben", "Hello Ada"])
        expect(pending(page)).to_have_count(0)
    expect(ada.locator(".mine .text")).to_have_text(["Hello Ben"])
    expect(ben.locator(".mine .text")).to_have_text(["Hello Ada"])
    ben.get_by_role("button", name="Leave").click()
    expect(ada.get_by_text("Ben left")).to_be_visible()
    expect(ben.get_by_role("heading", name="Join a room")).to_be_visible()


def test_what_http_publishes_is_shown(visitors: Visitors) -> None:
    page = visitors.join("Ada")
    publish(visitors, "From outside")
    expect(texts(page)).to_have_text(["From outside"])


def test_another_one_of_the_same_name_is_not_me(visitors: Visitors) -> None:
    """Two tabs under one name, and the same name over HTTP: each page owns what it sent."""
    first, second = visitors.join("Ada"), visitors.join("Ada")
    expect(first.get_by_text("Ada joined")).to_be_visible()
    say(first, "From the first")
    say(second, "From the second")
    publish(visitors, "From outside", name="Ada")
    for page, own in ((first, "From the first"), (second, "From the second")):
        expect(texts(page)).to_have_count(3)
        expect(page.locator(".mine .text")).to_have_text([own])
        expect(page.locator("#log .author")).to_have_text(["Ada", "Ada"])
        expect(page.locator("#log .badge")).to_have_text(["not you", "over HTTP"])
        expect(pending(page)).to_have_count(0)


def test_the_echo_of_another_does_not_deliver_mine(visitors: Visitors) -> None:
    """The same name and the same text from elsewhere: mine stays under way."""
    page = visitors.arrive()
    page.route_web_socket("**/ws/**", swallow_messages)
    fill_in(page, "Ada")
    expect(state(page)).to_have_text("Online")
    say(page, "Hello")
    publish(visitors, "Hello", name="Ada")
    expect(texts(page)).to_have_text(["Hello"])
    expect(page.locator("#log .mine")).to_have_count(0)
    expect(pending(page)).to_have_count(1)


def swallow_messages(route: WebSocketRoute) -> None:
    route.connect_to_server()
    route.on_message(lambda frame: None)


def test_hostile_names_and_texts_are_shown_as_text(visitors: Visitors) -> None:
    ada, eve = visitors.join("Ada"), visitors.join("<b>Eve</b>")
    say(eve, HOSTILE)
    expect(texts(ada)).to_have_text([HOSTILE])
    expect(ada.locator("#log .author")).to_have_text(["<b>Eve</b>"])
    say(ada, "<a href='javascript:window.intruded = true'>go</a> javascript:window.intruded=true")
    expect(texts(eve)).to_have_count(2)
    for page in (ada, eve):
        assert page.locator("#log :is(img, script, a)").count() == 0
        assert page.evaluate("window.intruded") is None


def test_web_addresses_are_links_and_nothing_else_is(visitors: Visitors) -> None:
    """They open in a new tab, which learns nothing of this one; who hides the host gets no link."""
    ada, ben = visitors.join("Ada"), visitors.join("Ben")
    text = "See https://example.com/a_(b)?x=1&y=<2, (http://example.org). ftp://x.example"
    deceit = "https://bank.example@evil.example/ data:text/html,x http:// //evil.example"
    say(ada, text)
    say(ada, deceit)
    expect(texts(ben)).to_have_text([text, deceit])
    links = ben.locator("#log .text a")
    expect(links).to_have_text(["https://example.com/a_(b)?x=1&y=", "http://example.org"])
    for link in links.all():
        expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        expect(link).to_have_attribute("target", "_blank")
    expect(links.last).to_have_attribute("href", "http://example.org/")


def test_a_name_that_runs_the_other_way_turns_nothing_around(visitors: Visitors) -> None:
    """It stands alone: the words and numbers beside it keep their order."""
    ada, other = visitors.join("Ada"), visitors.join("עדה")
    say(other, "שלום 123")
    notice = ada.get_by_text("joined")
    expect(notice.locator("bdi")).to_have_text("עדה")
    expect(ada.locator("#log .author bdi")).to_have_text("עדה")
    expect(texts(ada)).to_have_attribute("dir", "auto")
    expect(ada.locator("#own-name")).to_have_js_property("tagName", "BDI")
    assert (
        ada.locator("#log .author bdi").evaluate("(b) => getComputedStyle(b).unicodeBidi")
        == "isolate"
    )


def test_the_page_bears_the_projects_name(visitors: Visitors) -> None:
    page = visitors.arrive()
    name = httpx.get(f"{visitors.url}/static/app.webmanifest").json()["name"]
    expect(page).to_have_title(name)
    expect(page.locator("#join .brand")).to_contain_text(name)
    fill_in(page, "Ada")
    expect(page.locator("#chat header")).to_contain_text(name)
    expect(page).to_have_title(f"#{visitors.room} · {name}")


def test_names_have_colours_of_their_own(visitors: Visitors) -> None:
    """As many as there are hues, whatever the names are; one name, one colour."""
    page = visitors.arrive()
    hues = page.evaluate(
        """async () => {
            const { Colours } = await import("/static/colours.js");
            const colours = new Colours();
            const names = Array.from({ length: 12 }, (_, number) => `Visitor ${number}`);
            return [...names, ...names].map((name) => colours.of(name));
        }"""
    )
    assert len(set(hues[:12])) == 12
    assert hues[:12] == hues[12:]


def test_few_messages_stand_at_the_bottom(visitors: Visitors) -> None:
    page = visitors.join("Ada")
    say(page, "Down here")
    expect(texts(page)).to_have_count(1)
    gap = page.evaluate(
        """() => document.getElementById("scroller").getBoundingClientRect().bottom
            - document.querySelector("#log .text").getBoundingClientRect().bottom"""
    )
    assert 0 < gap < 40


def test_the_page_forbids_foreign_and_inline_code(visitors: Visitors) -> None:
    policy = httpx.get(visitors.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


def test_several_jobs_report_their_progress(visitors: Visitors) -> None:
    page = visitors.join("Ada")
    for _ in range(2):
        page.get_by_role("button", name="Start a job").click()
    bars = page.get_by_role("progressbar")
    expect(bars).to_have_count(2)
    expect(page.locator("#jobs li[data-state=done]")).to_have_count(2, timeout=60_000)
    assert bars.evaluate_all("bars => bars.every((bar) => bar.value === bar.max)")
    page.get_by_role("button", name="Clear finished").click()
    expect(bars).to_have_count(0)


def test_reconnects_by_itself_and_sends_what_was_typed_meanwhile_once(
    visitors: Visitors, server: Any
) -> None:
    sent: list[str | bytes] = []
    ada, ben = visitors.arrive(), visitors.join("Ben")
    ada.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
    fill_in(ada, "Ada")
    expect(state(ada)).to_have_text("Online")
    visitors.outage_expected = True
    server.stop()
    expect(ada.locator("#connection")).to_have_attribute("data-state", "reconnecting")
    expect(ada.get_by_role("button", name="Start a job")).to_be_disabled()
    say(ada, "Typed meanwhile")
    expect(pending(ada)).to_contain_text(["Waiting for the connection"])
    server.start()
    for page in (ada, ben):
        expect(state(page)).to_have_text("Online", timeout=RECONNECT_TIMEOUT)
    say(ben, "Welcome back")
    expect(texts(ada)).to_have_text(["Typed meanwhile", "Welcome back"])
    expect(texts(ben).last).to_have_text("Welcome back")
    expect(pending(ada)).to_have_count(0)
    assert [json.loads(frame)["text"] for frame in sent] == ["Typed meanwhile"]


def test_a_message_without_an_echo_is_left_to_its_author(visitors: Visitors) -> None:
    sent: list[Any] = []
    routes: list[WebSocketRoute] = []

    def swallow_on_the_first_connection(route: WebSocketRoute) -> None:
        routes.append(route)
        upstream = route.connect_to_server()
        swallow = len(routes) == 1
        route.on_message(lambda frame: sent.append(frame) if swallow else upstream.send(frame))

    page = visitors.arrive()
    page.route_web_socket("**/ws/**", swallow_on_the_first_connection)
    fill_in(page, "Ada")
    expect(state(page)).to_have_text("Online")
    say(page, "Did it arrive?")
    expect(pending(page)).to_have_count(1)
    routes[0].close(code=1012)
    expect(pending(page)).to_contain_text(["May not have arrived"])
    expect(state(page)).to_have_text("Online", timeout=RECONNECT_TIMEOUT)
    assert len(sent) == 1
    expect(texts(page)).to_have_count(0)
    page.get_by_role("button", name="Send again").click()
    expect(texts(page)).to_have_text(["Did it arrive?"])
    expect(pending(page)).to_have_count(0)


def test_an_error_is_shown_with_what_it_answers(visitors: Visitors) -> None:
    """Of two messages under way, or a message and a job, only the one that was refused."""
    frames: list[dict[str, str]] = []
    routes: list[WebSocketRoute] = []

    def keep_frames(route: WebSocketRoute) -> None:
        routes.append(route)
        route.on_message(lambda frame: frames.append(json.loads(frame)))
        route.send('{"type": "welcome", "room": "any", "name": "Ada", "client": "c-1"}')

    def refuse(frame: dict[str, str] | None, detail: str) -> None:
        answer = {"type": "error", "detail": detail, "id": frame and frame["id"]}
        routes[0].send(json.dumps(answer))

    page = visitors.arrive()
    page.route_web_socket("**/ws/**", keep_frames)
    fill_in(page, "Ada")
    expect(state(page)).to_have_text("Online")
    say(page, "One")
    say(page, "Two")
    page.get_by_role("button", name="Start a job").click()
    page.get_by_role("button", name="Start a job").click()
    expect(page.locator("#jobs > li")).to_have_count(2)
    page.evaluate("() => new Promise(requestAnimationFrame)")  # what was sent is here by then
    one, two, first_job, second_job = frames
    refuse(two, "Too fast")
    refuse(second_job, "Queue full")
    expect(pending(page).nth(1)).to_contain_text("Not delivered. Too fast")
    expect(pending(page).nth(0)).not_to_contain_text("Not delivered")
    rows = page.locator("#jobs > li")
    expect(rows.nth(0)).to_contain_text("Queue full")
    expect(rows.nth(1)).to_contain_text("Waiting for a worker")
    expect(page.get_by_role("alert")).to_have_count(0)
    echo = {"type": "message", "room": "any", "name": "Ada", "at": 0, "client": "c-1"}
    routes[0].send(json.dumps(echo | {"id": one["id"], "text": "One"}))
    expect(texts(page)).to_have_text(["One"])
    expect(pending(page)).to_have_count(1)
    progress = {"type": "job.progress", "job": "x", "done": 1, "total": 2}
    routes[0].send(json.dumps(progress | {"id": first_job["id"]}))
    expect(rows.nth(1)).to_contain_text("50 %")
    page.get_by_role("button", name="Discard").click()
    expect(pending(page)).to_have_count(0)
    refuse(None, "What was that?")
    expect(page.get_by_role("alert")).to_contain_text("What was that?")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(state(page)).to_have_text("Online")


def test_a_refused_name_returns_to_the_form_with_the_reason(visitors: Visitors) -> None:
    page = visitors.arrive()
    fill_in(page, "zero\u200bwidth")
    expect(page.get_by_role("heading", name="Join a room")).to_be_visible()
    expect(page.locator("#join-error")).to_contain_text("visible")


def test_a_reload_returns_to_the_room_and_a_link_carries_it(visitors: Visitors) -> None:
    page = visitors.join("Ada")
    page.reload()
    expect(page.locator("#room-title")).to_have_text(f"#{visitors.room}")
    expect(state(page)).to_have_text("Online")
    assert f"room={visitors.room}" in page.url
    expect(visitors.arrive().get_by_label("Room")).to_have_value(visitors.room)


def test_the_log_follows_only_a_reader_at_its_end(visitors: Visitors) -> None:
    page = visitors.join("Ada")
    log, newest = page.get_by_role("log"), texts(page).last
    for number in range(30):
        publish(visitors, f"Line {number}")
    expect(texts(page)).to_have_count(30)
    expect(newest).to_be_in_viewport(ratio=1)
    log.evaluate("(log) => log.scrollTo(0, 0)")
    page.evaluate("() => new Promise(requestAnimationFrame)")  # the page hears of it once a frame
    publish(visitors, "One more")
    expect(newest).to_have_text("One more")
    expect(log).to_have_js_property("scrollTop", 0)
    page.get_by_role("button", name="New messages").click()
    expect(newest).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 800, "height": 400})
    expect(newest).to_be_in_viewport(ratio=1)


def test_a_phone_shows_everything_without_sideways_scrolling(visitors: Visitors) -> None:
    page = visitors.join("A" * 50, viewport={"width": 360, "height": 740})
    say(page, "endless" * 60)
    page.get_by_role("button", name="Start a job").click()
    expect(texts(page)).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.getElementById('scroller').scrollWidth") <= 360
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_in_viewport(ratio=1)


def test_the_log_is_bounded(visitors: Visitors) -> None:
    page = visitors.arrive()
    rows = page.evaluate(
        """async () => {
            const log = new (await import("/static/log.js")).Log();
            for (let at = 0; at < 600; at++) log.addMessage({ name: "Ada", text: String(at), at });
            return document.querySelectorAll("#log > li").length;
        }"""
    )
    assert rows == 500


def test_the_pause_before_a_reconnect_grows_within_bounds(visitors: Visitors) -> None:
    pauses = visitors.arrive().evaluate(
        """async () => {
            globalThis.WebSocket = class {
                constructor() { setTimeout(() => this.onclose({ code: 1006, reason: "" })); }
                close() {}
            };
            const { ReconnectingSocket } = await import("/static/socket.js");
            const socket = new ReconnectingSocket("ws://unused");
            return new Promise((resolve) => {
                const pauses = [];
                socket.addEventListener("state", ({ detail: { state, retryAt } }) => {
                    if (state !== "waiting") return;
                    pauses.push(retryAt - Date.now());
                    if (pauses.length === 20) resolve(pauses);
                    else setTimeout(() => socket.retryNow());
                });
                socket.connect();
            });
        }"""
    )
    assert all(490 <= pause <= 15_000 for pause in pauses)
    assert pauses[0] <= 1_000
    assert max(pauses) > 4_000
    assert len(set(pauses)) > 10


def test_a_phone_shows_that_its_list_of_jobs_scrolls(visitors: Visitors) -> None:
    """A row is cut at the end of the list, never between two rows."""
    page = visitors.join("Ada", viewport={"width": 360, "height": 740})
    for _ in range(5):
        page.get_by_role("button", name="Start a job").click()
    expect(page.locator("#jobs > li")).to_have_count(5)
    expect(page.locator("#jobs-count")).to_have_text("(5)")
    cut = page.evaluate(
        """() => {
            const end = document.getElementById("jobs").getBoundingClientRect().bottom;
            return [...document.querySelectorAll("#jobs > li")]
                .map((row) => row.getBoundingClientRect())
                .some((box) => box.top + 8 < end && end < box.bottom - 8);
        }"""
    )
    assert cut


def publish(visitors: Visitors, text: str, name: str = "Robot") -> None:
    address = f"{visitors.url}/rooms/{visitors.room}/messages"
    assert httpx.post(address, json={"name": name, "text": text}).status_code == 202
