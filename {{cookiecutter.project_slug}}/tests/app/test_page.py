"""The page in a real browser: Chromium, driven by Playwright, against a running server.

Where one of the two is missing these tests are skipped and the summary says how to get it.
"""

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


def test_hostile_names_and_texts_are_shown_as_text(visitors: Visitors) -> None:
    ada, eve = visitors.join("Ada"), visitors.join("<b>Eve</b>")
    say(eve, HOSTILE)
    expect(texts(ada)).to_have_text([HOSTILE])
    expect(ada.locator("#log .author")).to_have_text(["<b>Eve</b>"])
    for page in (ada, eve):
        assert page.locator("#log :is(img, script)").count() == 0
        assert page.evaluate("window.intruded") is None


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
    assert sent == ['{"type":"message","text":"Typed meanwhile"}']


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


def test_an_error_is_shown_with_what_it_may_concern(visitors: Visitors) -> None:
    def refuse_everything(route: WebSocketRoute) -> None:
        route.on_message(lambda frame: route.send('{"type": "error", "detail": "Busy"}'))
        route.send('{"type": "welcome", "room": "any", "name": "Ada"}')

    page = visitors.arrive()
    page.route_web_socket("**/ws/**", refuse_everything)
    fill_in(page, "Ada")
    expect(state(page)).to_have_text("Online")
    page.get_by_role("button", name="Start a job").click()
    expect(page.get_by_role("alert")).to_contain_text("Busy")
    expect(page.locator("#jobs > li")).to_contain_text(["Could not be started"])
    say(page, "Hello")
    expect(pending(page)).to_contain_text(["May not have arrived"])
    page.get_by_role("button", name="Discard").click()
    expect(pending(page)).to_have_count(0)
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(state(page)).to_have_text("Online")


def test_a_refused_name_returns_to_the_form_with_the_reason(visitors: Visitors) -> None:
    page = visitors.arrive()
    fill_in(page, "zero\u200bwidth")
    expect(page.get_by_role("heading", name="Join a room")).to_be_visible()
    expect(page.locator("#join-error")).to_contain_text("printable")


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


def publish(visitors: Visitors, text: str) -> None:
    address = f"{visitors.url}/rooms/{visitors.room}/messages"
    assert httpx.post(address, json={"name": "Robot", "text": text}).status_code == 202
