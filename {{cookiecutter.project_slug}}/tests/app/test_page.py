"""The page in a real browser: Chromium, driven by Playwright, against a running server.

Where one of the two is missing these tests are skipped and the summary says how to get it.
"""

import json
import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from itsdangerous import TimestampSigner

pytest.importorskip("playwright.sync_api", reason="needs Playwright: uv sync --group browser")

from playwright.sync_api import Browser, Page, Route, WebSocketRoute, expect, sync_playwright

from {{ cookiecutter.project_slug }} import layers

from ..fast_channels.support.redis_servers import wait_until
from .broker import Broker
from .pages import (
    StandIn,
    Visitors,
    ask,
    count,
    fill_in,
    hide,
    is_in,
    joined,
    members,
    pending,
    say,
    send_all,
    state,
    texts,
)
from .processes import WebProcess, WorkerProcess
from .tunnel import Tunnel

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_FLAGS = [
    "--no-sandbox",  # containers, where most pipelines run, offer no user namespace for it
    "--disable-background-networking",
    "--disable-dev-shm-usage",
]
SETTINGS = {"SECRET_KEY": "a secret of these tests, long enough", "JOB_STEP_SECONDS": "0.05"}
# With pub/sub nothing is kept: a page that was away is told that it may have missed something.
KEEPS_HISTORY = not hasattr(layers, "RedisPubSubChannelLayer")
BOTTOM = "(one) => Math.round(one.getBoundingClientRect().bottom)"
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


@pytest.fixture(scope="module")
def memory_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WebProcess]:
    with WebProcess(tmp_path_factory.mktemp("page"), SETTINGS) as server:
        yield server


@pytest.fixture
def server(memory_server: WebProcess) -> Iterator[WebProcess]:
    """In memory; a test may `stop()` and `start()` it. A failure shows its log."""
    memory_server.start()
    yield memory_server
    print(memory_server.said())


@pytest.fixture(scope="module")
def both(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WebProcess, WebProcess]]:
    """Two web processes and a worker on Redis."""
    folder, settings = tmp_path_factory.mktemp("pages"), {**SETTINGS, "REDIS_URL": broker.url}
    with ExitStack() as stack:
        # Its jobs take minutes: none ends before it is cancelled.
        stack.enter_context(WorkerProcess(folder, {**settings, "JOB_STEP_SECONDS": "10"}))
        a, b = (stack.enter_context(WebProcess(folder, settings)) for _ in range(2))
        yield a, b


@pytest.fixture
def tunnel(both: tuple[WebProcess, WebProcess]) -> Iterator[Tunnel]:
    for process in both:
        process.start()
    with Tunnel(both[0].port, both[1].port) as tunnel:
        yield tunnel


@pytest.fixture
def visitors(browser: Browser, server: WebProcess) -> Iterator[Visitors]:
    yield from visit(browser, server.url)


@pytest.fixture
def travellers(browser: Browser, tunnel: Tunnel) -> Iterator[Visitors]:
    """Behind a tunnel, with Redis."""
    yield from visit(browser, tunnel.url)


def visit(browser: Browser, url: str) -> Iterator[Visitors]:
    visitors = Visitors(browser, url)
    yield visitors
    for context in browser.contexts:
        context.close()
    assert visitors.errors == []


# Talking


def test_two_people_chat(visitors: Visitors) -> None:
    ada, ben = visitors.join("Ada"), visitors.join("Ben")
    expect(members(ada)).to_have_text(["Ada", "Ben"])
    say(ada, "Hello Ben")
    expect(texts(ben)).to_have_text(["Hello Ben"])
    say(ben, "Hello Ada")
    for page in (ada, ben):
        expect(texts(page)).to_have_text(["Hello Ben", "Hello Ada"])
        expect(pending(page)).to_have_count(0)
    expect(ada.locator(".mine .text")).to_have_text(["Hello Ben"])
    expect(ben.locator(".mine .text")).to_have_text(["Hello Ada"])
    ben.get_by_role("button", name="Sign out").click()
    expect(ben.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(members(ada)).to_have_text(["Ada"])


def test_a_newcomer_and_a_reload_show_what_was_said(visitors: Visitors) -> None:
    """The last 50 messages, without a "caught up": nothing was missed. A link carries the room."""
    ada = visitors.join("Ada")
    for number in range(53):
        say(ada, f"Line {number}")
    expect(texts(ada)).to_have_count(53)
    ben = visitors.join("Ben")
    last = [f"Line {number}" for number in range(3, 53)]
    ada.reload()
    for page in (ada, ben):
        expect(texts(page)).to_have_text(last)
        expect(page.locator(".notice-row")).to_have_count(0)
        expect(texts(page).last).to_be_in_viewport(ratio=1)
    expect(ada.locator(".mine .text")).to_have_count(50)
    expect(ada.locator("#room-title")).to_have_text(f"#{visitors.room}")
    assert f"room={visitors.room}" in ada.url


def test_what_http_publishes_is_shown(visitors: Visitors) -> None:
    page = visitors.join("Ada")
    visitors.publish("From outside")
    expect(texts(page)).to_have_text(["From outside"])


def test_two_users_of_one_name_are_told_apart(visitors: Visitors) -> None:
    """By a tag, in the list and in rows that stood there before; each page owns what its user says."""
    first = visitors.join("Ada")
    say(first, "From the first")
    expect(texts(first)).to_have_count(1)
    second = visitors.join("Ada")
    say(second, "From the second")
    for page, own in ((first, "From the first"), (second, "From the second")):
        expect(texts(page)).to_have_text(["From the first", "From the second"])
        expect(page.locator(".mine .text")).to_have_text([own])
        expect(page.locator(".message:not(.mine) .tag")).to_be_visible()
        expect(page.locator("#members .tag:visible")).to_have_count(2)
    assert len(set(first.locator("#members .tag").all_text_contents())) == 2


def test_another_device_of_the_same_user_is_in_step(visitors: Visitors) -> None:
    """One entry in the list with two devices; what one says is mine on both."""
    ben, ada = visitors.join("Ben"), visitors.join("Ada")
    other = visitors.again(ada)
    expect(members(ben)).to_have_text(["Ben", "Ada"])
    expect(ben.locator("#members .devices").nth(1)).to_have_text("2 devices")
    say(other, "From my phone")
    for page in (ada, other):
        expect(page.locator(".mine .text")).to_have_text(["From my phone"])
    other.close()
    expect(ben.locator("#members .devices").nth(1)).to_have_text("")


def test_who_is_typing_is_shown_until_the_message_comes(visitors: Visitors) -> None:
    ada, ben = visitors.join("Ada"), visitors.join("<i>Ben</i>")
    ben.get_by_label("Message", exact=True).press_sequentially("Hel")
    expect(ada.locator("#typing")).to_have_text("<i>Ben</i> is typing")
    expect(ben.locator("#typing")).to_have_text("")
    ben.keyboard.press("Enter")
    expect(texts(ada)).to_have_text(["Hel"])
    expect(ada.locator("#typing")).to_have_text("")


def test_what_came_unseen_stands_behind_a_line(visitors: Visitors) -> None:
    """The title counts it; the line goes with the reader's next message."""
    ada, ben = visitors.join("Ada"), visitors.join("Ben")
    say(ben, "Seen")
    expect(texts(ada)).to_have_text(["Seen"])
    hide(ada, True)
    for text in ("Unseen", "Unseen too"):
        say(ben, text)
    expect(texts(ada)).to_have_count(3)
    rows = ada.locator("#log > li")
    expect(rows.nth(1)).to_have_text("New")
    expect(rows).to_have_count(4)
    assert ada.title().startswith("(2) ")
    hide(ada, False)
    assert ada.title().startswith("#")
    say(ada, "I see")
    expect(rows).to_have_count(4)


def test_what_was_said_since_the_last_visit_stands_behind_a_line(visitors: Visitors) -> None:
    """Over a reload and in another tab; what was read, in a visible page, does not."""
    ada, ben = visitors.join("Ada"), visitors.join("Ben")
    say(ben, "Read")
    expect(texts(ada)).to_have_text(["Read"])
    ada.goto("about:blank")
    for text in ("Said since", "This, too"):
        say(ben, text)
    expect(pending(ben)).to_have_count(0)
    ada.goto(f"{visitors.url}/?room={visitors.room}")
    rows = ada.locator("#log > li")
    expect(rows).to_contain_text(["Read", "New", "Said since", "This, too"])
    ada.reload()
    expect(texts(ada)).to_have_count(3)
    expect(rows).to_have_count(3)


# What others write is text


def test_hostile_names_and_texts_are_shown_as_text(visitors: Visitors) -> None:
    ada, eve = visitors.join("Ada"), visitors.join("<b>Eve</b>")
    say(eve, HOSTILE)
    expect(texts(ada)).to_have_text([HOSTILE])
    expect(ada.locator("#log .name")).to_have_text(["<b>Eve</b>"])
    expect(members(ada)).to_have_text(["Ada", "<b>Eve</b>"])
    say(ada, "<a href='javascript:window.intruded = true'>go</a> javascript:window.intruded=true")
    expect(texts(eve)).to_have_count(2)
    row = ask(eve, HOSTILE)
    expect(row.locator(".title")).to_have_text(HOSTILE)
    expect(row.locator(".state")).to_have_text("Done")
    for page in (ada, eve):
        assert page.locator("#log :is(img, script, a), #jobs :is(img, script, a)").count() == 0
        assert page.evaluate("window.intruded") is None


def test_web_addresses_are_links_and_nothing_else_is(visitors: Visitors) -> None:
    """They open in a new tab, which learns nothing of this one; who hides the host gets no link."""
    ada, ben = visitors.join("Ada"), visitors.join("Ben")
    text = "See https://example.com/a_(b)?x=1&y=<2, (http://example.org/w_(x)). ftp://x.example"
    deceit = "https://bank.example@evil.example/ data:text/html,x http:// //evil.example"
    say(ada, text)
    say(ada, deceit)
    expect(texts(ben)).to_have_text([text, deceit])
    links = ben.locator("#log .text a")
    addresses = ["https://example.com/a_(b)?x=1&y=", "http://example.org/w_(x)"]
    expect(links).to_have_text(addresses)
    for link in links.all():
        expect(link).to_have_attribute("rel", "noopener noreferrer nofollow")
        expect(link).to_have_attribute("target", "_blank")
    expect(links.last).to_have_attribute("href", addresses[1])


def test_a_name_that_runs_the_other_way_turns_nothing_around(visitors: Visitors) -> None:
    """It stands alone: the words and numbers beside it keep their order."""
    ada, other = visitors.join("Ada"), visitors.join("עדה")
    say(other, "שלום 123")
    expect(texts(ada)).to_have_attribute("dir", "auto")
    for place in ("#log .name bdi", "#members li:last-child .name bdi"):
        expect(ada.locator(place)).to_have_text("עדה")
    expect(other.locator("#own-name")).to_have_js_property("tagName", "BDI")
    isolated = ada.locator("#log .name bdi").evaluate("(b) => getComputedStyle(b).unicodeBidi")
    assert isolated == "isolate"


def test_the_page_forbids_foreign_and_inline_code(visitors: Visitors) -> None:
    policy = httpx.get(visitors.url).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy


# The line breaks


def test_nothing_is_missed_in_a_tunnel(travellers: Visitors, tunnel: Tunnel) -> None:
    """Two devices of Ada; one is away while Ben talks and both write: each message once, in order."""
    ada = travellers.join("Ada")
    with Tunnel(*tunnel.ports[::-1]) as other_way:
        ben = travellers.join("Ben", url=other_way.url)
        home = travellers.join("Ada", url=other_way.url)
        say(ada, "Before the tunnel")
        expect(texts(ben)).to_have_count(1)
        travellers.outage_expected = True
        tunnel.cut()
        expect(ada.locator("#connection")).to_have_attribute("data-state", "waiting")
        for number in range(14):
            say(ben, f"Ben {number}")
        expect(texts(home)).to_have_count(15)
        for number in range(3):
            say(ada, f"Ada {number}")
        expect(pending(ada)).to_contain_text(["Waiting for the connection"] * 3)
        ada.wait_for_timeout(3_000)
        tunnel.mend()
        if not KEEPS_HISTORY:
            expect(ada.get_by_text("You may have missed messages.")).to_be_visible()
            expect(texts(ada)).to_have_text(["Before the tunnel", "Ada 0", "Ada 1", "Ada 2"])
            return
        expect(ada.get_by_text("Caught up, 14 messages")).to_be_visible()
        expect(pending(ada)).to_have_count(0)
        count("in a tunnel", 18, ada, ben, home)
        expect(members(ben)).to_have_text(["Ben", "Ada", "Ada"])


@pytest.mark.skipif(not KEEPS_HISTORY, reason="pub/sub keeps nothing, which the page tells")
@pytest.mark.parametrize("end", ["kill", "stop"])
def test_web_processes_that_end_lose_nothing(
    travellers: Visitors, both: tuple[WebProcess, WebProcess], end: str
) -> None:
    """Both sides write without a pause, while one process after the other dies, or is restarted."""
    ada, ben = travellers.join("Ada"), travellers.join("Ben")
    travellers.outage_expected = True
    sent = 0
    for process in both:
        for number in range(20):
            if number == 5:
                getattr(process, end)()
            if number == 15:
                process.start()
            for page, name in ((ada, "Ada"), (ben, "Ben")):
                say(page, f"{name} {sent:03}")
                sent += 1
    for page in (ada, ben):
        expect(pending(page)).to_have_count(0)
        expect(state(page)).to_have_text("Online")
    count(f"processes that {end}", sent, ada, ben)


def test_an_outage_of_redis_is_outlived(travellers: Visitors, broker: Broker) -> None:
    """What is said meanwhile goes out, by itself after a failover, or else by its author's will; once."""
    ada, ben = travellers.join("Ada"), travellers.join("Ben")
    travellers.outage_expected = True
    say(ada, "Ada 0")
    expect(texts(ben)).to_have_count(1)
    broker.lose()
    try:
        say(ada, "Ada 1")
        ada.wait_for_timeout(3_000)
    finally:
        broker.recover()
    ready = f"{travellers.url}/health/ready"
    wait_until(lambda: httpx.get(ready).is_success, what="the way to Redis", timeout=60)
    send_all(ada)
    count("over an outage", 2, ada, ben)


def test_a_restart_that_forgets_is_told(visitors: Visitors, server: WebProcess) -> None:
    """In memory nothing proves what was said meanwhile; what waits goes out all the same."""
    ada = visitors.join("Ada")
    say(ada, "Before")
    expect(texts(ada)).to_have_count(1)
    visitors.outage_expected = True
    server.stop()
    expect(ada.locator("#connection")).to_have_attribute("data-state", "waiting")
    say(ada, "Typed meanwhile")
    expect(pending(ada)).to_contain_text(["Waiting for the connection"])
    server.start()
    expect(ada.get_by_text("You may have missed messages.")).to_be_visible()
    expect(texts(ada)).to_have_text(["Before", "Typed meanwhile"])
    expect(pending(ada)).to_have_count(0)


def test_the_pause_before_the_next_attempt_can_be_cut_short(visitors: Visitors) -> None:
    """By a button that stays where it is, and usable, until there is a line again."""
    page = visitors.browser.new_context().new_page()
    page.clock.install()
    stand_in = StandIn(page, join=joined())
    visitors.open(page)
    expect(state(page)).to_have_text("Online")
    page.clock.pause_at(page.evaluate("Date.now()") + 1)  # no attempt comes by itself
    stand_in.away = True
    stand_in.route.close(code=1012)
    button = page.get_by_role("button", name="Try now")
    button.click()
    expect(button).to_be_visible()
    expect(page.locator("#connection")).to_have_attribute("data-state", "waiting")
    stand_in.away = False
    button.click()
    expect(state(page)).to_have_text("Online")
    expect(button).to_be_hidden()


def test_a_message_without_an_answer_is_looked_for_and_sent_again(visitors: Visitors) -> None:
    """What was missed is complete and does not hold it: it goes out again, under the same id."""
    sent: list[Any] = []
    routes: list[WebSocketRoute] = []

    def swallow_on_the_first_connection(route: WebSocketRoute) -> None:
        routes.append(route)
        upstream, first = route.connect_to_server(), len(routes) == 1

        def pass_on(frame: str | bytes) -> None:
            says = json.loads(frame)["type"] == "say"
            if says:
                sent.append(json.loads(frame))
            if not (says and first):
                upstream.send(frame)

        route.on_message(pass_on)

    page = visitors.arrive()
    page.route_web_socket("**/ws/**", swallow_on_the_first_connection)
    fill_in(page, "Ada")
    expect(state(page)).to_have_text("Online")
    say(page, "Did it arrive?")
    say(page, "And this?")
    expect(pending(page)).to_contain_text(["Sending…", "Waiting"])
    routes[0].close(code=1012)
    expect(texts(page)).to_have_text(["Did it arrive?", "And this?"])
    expect(pending(page)).to_have_count(0)
    assert [frame["text"] for frame in sent] == ["Did it arrive?", "Did it arrive?", "And this?"]
    assert sent[0]["id"] == sent[1]["id"]


def test_what_cannot_be_proven_is_left_to_its_author(visitors: Visitors) -> None:
    page = visitors.browser.new_context().new_page()
    stand_in = StandIn(page, join=joined())
    visitors.open(page)
    expect(state(page)).to_have_text("Online")
    say(page, "Did it arrive?")
    expect(pending(page)).to_contain_text(["Sending"])
    stand_in.answers["join"] = joined(False)
    stand_in.route.close(code=1012)
    expect(pending(page)).to_contain_text(["May not have arrived."])
    expect(page.get_by_text("You may have missed messages.")).to_be_visible()
    said = [frame for frame in stand_in.asked if frame["type"] == "say"]
    assert len(said) == 1
    page.get_by_role("button", name="Send again").click()
    expect(pending(page)).to_contain_text(["Sending"])
    said = [frame for frame in stand_in.asked if frame["type"] == "say"]
    assert said[0] == said[1]


def test_the_answer_and_the_echo_settle_a_message(visitors: Visitors) -> None:
    """By its id: sent, delivered, shown; or not delivered, with the server's sentence."""
    page = visitors.browser.new_context().new_page()
    stand_in = StandIn(page, join=joined())
    visitors.open(page)
    expect(state(page)).to_have_text("Online")
    say(page, "One")
    expect(pending(page)).to_contain_text(["Sending"])
    one = stand_in.asked[-1]
    echo = {"type": "said", "group": one["group"], "position": "p2", "at": 0, "text": "One"}
    stand_in.tell(**echo, user={"id": "u-2", "name": "Ada"}, id=one["id"])
    expect(texts(page)).to_have_count(1)
    expect(pending(page)).to_have_count(1)  # another user's, under the same id and name
    stand_in.answer(one, type="ok")
    expect(pending(page)).to_contain_text(["Delivered"])
    for _ in range(2):
        stand_in.tell(**echo, user=stand_in.user, id=one["id"])
    expect(pending(page)).to_have_count(0)
    expect(page.locator("#log .mine .text")).to_have_text(["One"])
    say(page, "Two")
    expect(pending(page)).to_contain_text(["Sending"])
    stand_in.answer(stand_in.asked[-1], type="error", code="too_fast", detail="Too fast.")
    expect(pending(page)).to_contain_text(["Not delivered. Too fast."])
    expect(page.get_by_role("alert")).to_have_count(0)
    page.get_by_role("button", name="Discard").click()
    expect(pending(page)).to_have_count(0)
    expect(page.get_by_label("Message", exact=True)).to_be_focused()
    stand_in.tell(type="error", code="invalid", detail="What was that?", errors=[])
    expect(page.get_by_role("alert")).to_contain_text("What was that?")
    page.get_by_role("button", name="Dismiss").click()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_server_that_was_cut_off_is_asked_again(visitors: Visitors) -> None:
    page = visitors.browser.new_context().new_page()
    stand_in = StandIn(page, join=joined())
    visitors.open(page)
    expect(state(page)).to_have_text("Online")
    user = {"id": "u-2", "name": "Ben"}
    said = {"type": "said", "group": "any", "position": "p2", "at": 0, "user": user, "text": "Hi"}
    stand_in.answers["join"] = joined(True, {**said, "id": "m-1"})
    stand_in.tell(type="incomplete")
    expect(page.get_by_text("Caught up, 1 message")).to_be_visible()
    expect(texts(page)).to_have_text(["Hi"])
    joins = [frame for frame in stand_in.asked if frame["type"] == "join"]
    assert [frame.get("since") for frame in joins if "room" in frame["group"]] == [None, "p1"]


# Sessions


def test_a_refused_name_stays_in_the_form_with_the_reason(visitors: Visitors) -> None:
    page = visitors.arrive()
    fill_in(page, "zero\u200bwidth")
    expect(page.get_by_role("alert")).to_contain_text("visible")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_label("Room", exact=True)).to_have_value(visitors.room)


def test_signing_out_in_one_tab_signs_out_the_other(visitors: Visitors) -> None:
    """What was not sent yet is in the composer of whoever signs in there again."""
    ada = visitors.arrive()
    ada.route_web_socket("**/ws/**", swallow("say"))
    fill_in(ada, "Ada")
    say(is_in(ada), "Not sent yet")
    expect(pending(ada)).to_contain_text(["Sending…"])
    other = visitors.again(ada)
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(ada.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(ada.get_by_role("alert")).to_have_text("You signed out.")
    expect(other.get_by_role("alert")).to_have_count(0)
    fill_in(ada, "Ada")
    expect(ada.get_by_label("Message", exact=True)).to_have_value("Not sent yet")


def swallow(kind: str) -> Callable[[WebSocketRoute], None]:
    """What a page asks of this kind is lost on its way to the server."""

    def carry(route: WebSocketRoute) -> None:
        upstream = route.connect_to_server()
        route.on_message(lambda f: None if json.loads(f)["type"] == kind else upstream.send(f))

    return carry


def test_a_session_is_renewed_by_itself(visitors: Visitors) -> None:
    """Before its end, without a word; also if the first attempt fails."""
    visitors.outage_expected = True  # the attempt that fails
    page = visitors.arrive()
    page.clock.install()  # the page's day is short, the server's is not
    heard: list[Any] = []
    page.on("websocket", lambda line: line.on("framereceived", lambda f: heard.append(f)))
    page.reload()
    fill_in(page, "Ada")
    is_in(page)
    page.route("**/session", lambda route: route.abort(), times=1)
    page.clock.fast_forward("11:30:00")
    assert not any("renewed" in frame for frame in heard)
    with page.expect_request(lambda request: request.method == "POST"):
        page.clock.fast_forward("25:01")
    page.clock.run_for(1_000)
    with page.expect_response(lambda answer: answer.request.method == "POST") as renewal:
        page.clock.fast_forward("02:31")
    assert renewal.value.ok
    say(page, "Still here")
    expect(texts(page)).to_have_text(["Still here"])
    assert any('"renewed"' in frame for frame in heard)


def test_the_end_of_a_session_is_told(visitors: Visitors) -> None:
    """The page that could not renew it asks to sign in again."""
    visitors.outage_expected = True  # renewals that are prevented
    user, now = {"id": "u-1", "name": "Eve"}, time.time()
    ends = {"id": "s-1", "user": user, "since": now, "expires_at": now + 4}
    signer = TimestampSigner(SETTINGS["SECRET_KEY"])
    cookie = signer.sign(b64encode(json.dumps(ends).encode())).decode()
    context = visitors.browser.new_context()
    context.add_cookies([{"name": "session", "value": cookie, "url": visitors.url}])
    page = context.new_page()
    page.route("**/session", refuse_post)
    visitors.open(page)
    expect(page.get_by_role("alert")).to_contain_text("session has")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def refuse_post(route: Route) -> None:
    if route.request.method == "POST":
        route.abort()
    else:
        route.continue_()


def test_a_provider_is_named_where_there_is_one(visitors: Visitors) -> None:
    page = visitors.browser.new_context().new_page()
    answer = {"detail": "Sign in first.", "sign_in": "provider"}
    page.route("**/session", lambda route: route.fulfill(status=401, json=answer))
    visitors.open(page)
    expect(page.get_by_text("Sign in with your provider")).to_be_visible()
    expect(page.get_by_label("Your name")).to_be_hidden()
    page.get_by_role("button", name="Join").click()
    expect(page.get_by_role("alert")).to_have_text("Sign in first.")


def test_a_providers_session_is_renewed_by_what_the_browser_has(visitors: Visitors) -> None:
    """And when it has nothing newer, at the end, the page asks to sign in there again."""
    page = visitors.browser.new_context().new_page()
    page.clock.install()
    stand_in = StandIn(page, join=joined(), renew={"type": "renewed", "expires_in": 3600})
    stand_in.session |= {"sign_in": "provider", "renewal": "longer"}
    visitors.open(page)
    expect(state(page)).to_have_text("Online")
    page.clock.fast_forward("55:01")
    wait_until_asked(page, stand_in, {"type": "renew", "token": "longer"})
    stand_in.session = {"detail": "Sign in first.", "sign_in": "provider"}
    page.evaluate("Promise.resolve()")  # behind the answer, which sets the next time
    page.clock.fast_forward("55:01")
    expect(page.get_by_role("alert")).to_contain_text("session has ended")
    expect(page.get_by_text("Sign in with your provider")).to_be_visible()


def wait_until_asked(page: Page, stand_in: StandIn, fields: dict[str, Any]) -> None:
    while not any(fields.items() <= frame.items() for frame in stand_in.asked):
        page.wait_for_timeout(50)


# Jobs


def test_a_job_is_the_same_after_a_reload_and_on_another_device(visitors: Visitors) -> None:
    """An answer grows word by word; a reload in the middle shows all of it, and it goes on."""
    ada = visitors.join("Ada")
    row = ask(ada, "What is a position?")
    expect(row.locator(".output")).to_contain_text("answer comes")
    ada.reload()
    other = visitors.again(ada)
    whole = ""
    for page in (ada, other):
        row = page.locator("#jobs > li").first
        expect(row.locator(".state")).to_have_text("Done")
        expect(row.locator(".title")).to_have_text("What is a position?")
        text = row.locator(".output").inner_text()
        assert text.count("answer comes") == 1
        assert whole in ("", text)
        whole = text
    ada.get_by_role("button", name="Run steps").click()
    for page in (ada, other):
        row = page.locator("#jobs > [data-kind=steps]")
        expect(row.locator(".state")).to_have_text("Done")
        bar = row.get_by_role("progressbar")
        assert bar.evaluate("(bar) => bar.value === bar.max")


def test_a_job_is_cancelled_by_its_button(travellers: Visitors) -> None:
    """While it runs; its worker is another process."""
    page = travellers.join("Ada")
    row = ask(page, "Much to say")
    expect(row).to_have_attribute("data-state", "running")
    row.get_by_role("button", name="Cancel").click()
    expect(row.locator(".state")).to_have_text("Cancelled")
    expect(row.get_by_role("button", name="Cancel")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_moves_away_under_the_pointer(visitors: Visitors, width: int) -> None:
    """While answers grow and people come: each button stays where it is."""
    size = {"width": width, "height": 740}
    page = visitors.browser.new_context(viewport=size).new_page()
    stand_in = StandIn(page, join=joined())
    visitors.open(page)
    expect(state(page)).to_have_text("Online")
    jobs = page.get_by_role("button", name="Jobs")
    if jobs.is_visible():
        jobs.click()
    for job in ("j-1", "j-2"):
        started = {"type": "job_started", "job": job, "job_group": f"job.{job}", "kind": "answer"}
        stand_in.answers["start_job"] = started
        ask(page, f"A question that takes more than one line, and a long one: {job}")
    cancels = page.get_by_role("button", name="Cancel")
    expect(cancels).to_have_count(2)
    buttons = [*cancels.all(), page.get_by_role("button", name="Run steps")]
    places = [button.bounding_box() for button in buttons]
    assert all(places)
    for number in range(100):
        for job in ("j-1", "j-2"):
            of = {"group": f"job.{job}", "job": job, "position": f"p{number + 2}"}
            stand_in.tell(**of, type="job_output", text=f"word-{number} ")
    people = [{"id": f"u-{number}", "name": "Ben", "connections": 1} for number in range(30)]
    room = f"room.{visitors.room}"
    stand_in.tell(type="presence", group=room, joined=people, left=[], count=30)
    expect(page.locator("#people-count")).to_have_text("30")
    for row in page.locator("#jobs > li").all():
        expect(row.locator(".output")).to_contain_text("word-99")
        ends = [row.locator(place).evaluate(BOTTOM) for place in (".output", ".words")]
        assert ends == [ends[0]] * 2  # the newest words are in sight
    assert [button.bounding_box() for button in buttons] == places


def test_a_failed_job_and_a_refused_one_say_so(visitors: Visitors) -> None:
    page = visitors.browser.new_context().new_page()
    started = {"type": "job_started", "job": "j", "job_group": "job.j", "kind": "steps"}
    stand_in = StandIn(page, join=joined(), start_job=started)
    visitors.open(page)
    expect(state(page)).to_have_text("Online")
    page.get_by_role("button", name="Run steps").click()
    row = page.locator("#jobs > li")
    expect(row.locator(".state")).to_have_text("Waiting for a worker")
    of = {"group": "job.j", "job": "j"}
    stand_in.tell(**of, type="job_progress", position="p2", done=1, total=4, label="Reading")
    expect(row.locator(".state")).to_have_text("Reading")
    stand_in.tell(**of, type="job_ended", position="p3", state="failed", detail="No such file.")
    expect(row.locator(".state")).to_have_text("Failed: No such file.")
    expect(page.locator("#announcement")).to_contain_text("Failed: No such file.")
    stand_in.answers["start_job"] = {"type": "error", "code": "busy", "detail": "Too many jobs."}
    page.get_by_role("button", name="Run steps").click()
    expect(page.get_by_role("alert")).to_have_text("Too many jobs.")
    expect(row).to_have_count(1)


# The look


def test_the_page_bears_the_projects_name(visitors: Visitors) -> None:
    page = visitors.arrive()
    name = httpx.get(f"{visitors.url}/static/app.webmanifest").json()["name"]
    expect(page).to_have_title(name)
    expect(page.locator("#sign-in .brand")).to_contain_text(name)
    fill_in(page, "Ada")
    expect(page.locator("#chat header")).to_contain_text(name)
    expect(page).to_have_title(f"#{visitors.room} · {name}")


def test_users_have_colours_of_their_own(visitors: Visitors) -> None:
    """As many as there are hues, whoever they are; one user, one colour."""
    hues = visitors.arrive().evaluate(
        """async () => {
            const { hueOf } = await import("/static/people.js");
            const users = Array.from({ length: 12 }, (_, number) => `user ${number}`);
            return [...users, ...users].map(hueOf);
        }"""
    )
    assert len(set(hues[:12])) == 12
    assert hues[:12] == hues[12:]


def test_few_messages_stand_at_the_bottom(visitors: Visitors) -> None:
    page = visitors.join("Ada")
    say(page, "Down here")
    expect(texts(page)).to_have_count(1)
    gap = page.locator("#scroller").evaluate(BOTTOM) - texts(page).evaluate(BOTTOM)
    assert 0 < gap < 40


def test_the_log_follows_only_a_reader_at_its_end(visitors: Visitors) -> None:
    page, other = visitors.join("Ada"), visitors.join("Ben")
    log, newest = page.get_by_role("log"), texts(page).last
    for number in range(30):
        say(other, f"Line {number}")
    expect(texts(page)).to_have_count(30)
    expect(newest).to_be_in_viewport(ratio=1)
    log.evaluate("(log) => log.scrollTo(0, -log.scrollHeight)")
    page.evaluate("() => new Promise(requestAnimationFrame)")  # the page hears of it once a frame
    first = texts(page).first
    place = first.evaluate(BOTTOM)
    for number in range(3):
        say(other, f"One more {number}")
    expect(newest).to_have_text("One more 2")
    assert abs(first.evaluate(BOTTOM) - place) <= 1  # a browser scrolls by whole pixels
    page.get_by_role("button", name="New messages").click()
    expect(newest).to_be_in_viewport(ratio=1)
    page.set_viewport_size({"width": 800, "height": 400})
    expect(newest).to_be_in_viewport(ratio=1)


def test_the_log_is_bounded(visitors: Visitors) -> None:
    rows = visitors.arrive().evaluate(
        """async () => {
            const log = await import("/static/log.js");
            const user = { id: "u-1", name: "Ada" };
            for (let at = 0; at < 600; at++) log.add({ user, id: `m-${at}`, text: "x", at });
            return document.querySelectorAll("#log > li").length;
        }"""
    )
    assert rows == 500


def test_a_phone_shows_everything_without_sideways_scrolling(visitors: Visitors) -> None:
    """Also the members and the jobs: sheets that the keyboard opens and closes."""
    page = visitors.join("A" * 50, viewport={"width": 360, "height": 740})
    say(page, "endless" * 60)
    expect(texts(page)).to_have_count(1)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert page.evaluate("document.getElementById('scroller').scrollWidth") <= 360
    expect(page.get_by_role("button", name="Send", exact=True)).to_be_in_viewport(ratio=1)
    for button, inside in (("here", "Sign out"), ("Jobs", "Run steps")):
        expect(page.get_by_role("button", name=inside)).to_be_hidden()
        opener = page.get_by_role("button", name=button)
        opener.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name=inside)).to_be_in_viewport(ratio=1)
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name=inside)).to_be_hidden()
        expect(opener).to_be_focused()


def test_all_that_can_be_used_has_a_name_and_a_place_in_the_order(visitors: Visitors) -> None:
    """Of the keyboard: Tab goes through all of it, and each says to a screen reader what it is."""
    page = visitors.join("Ada")
    found: list[str] = []
    page.get_by_label("Message", exact=True).focus()
    for _ in range(12):
        page.keyboard.press("Tab")
        found.append(
            page.evaluate(
                """() => {
                    const { activeElement: one } = document;
                    const label = one.labels?.[0] ?? one;
                    return one.getAttribute("aria-label") ?? label.textContent.trim();
                }"""
            )
        )
    order = ["Send", "Another room", "Go", "Sign out", "Question", "Ask", "Run steps"]
    assert found[: len(order)] == order
    assert "Messages" in found
    for role in ("log", "main", "banner"):
        expect(page.get_by_role(role)).to_have_count(1)
    assert page.locator("#state, #announcement").evaluate_all(
        "(all) => all.every((one) => one.getAttribute('role') === 'status')"
    )
