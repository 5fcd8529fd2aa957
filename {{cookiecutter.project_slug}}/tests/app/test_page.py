"""What the page does, in a real browser: Chromium, driven by Playwright, before a server in memory.

Where one of the two is missing these tests are skipped and the summary says how to get it.
"""

import json
from typing import Any

import httpx
import pytest

pytest.importorskip("playwright.sync_api", reason="needs Playwright: uv sync --group browser")

from playwright.sync_api import Page, WebSocketRoute, expect

from .pages import (
    StandIn,
    Visitors,
    ask,
    fill_in,
    hide,
    is_in,
    joined,
    members,
    pending,
    say,
    state,
    texts,
    write,
)
from .processes import WebProcess

HOSTILE = '<img src=x onerror="window.intruded = true"><script>window.intruded = true</script>'


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
    lines = [f"Line {number}" for number in range(53)]
    write(ada, *lines[:40])
    expect(texts(ada)).to_have_count(40)
    write(ada, *lines[40:])
    expect(texts(ada)).to_have_count(53)
    ben = visitors.join("Ben")
    ada.reload()
    for page in (ada, ben):
        expect(texts(page)).to_have_text(lines[3:])
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
    ada, eve = visitors.join("Ada"), visitors.sign_in("<b>Eve</b>")
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
    page = visitors.new_page()
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
    page, stand_in = visitors.before_stand_in(join=joined())
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
    page, stand_in = visitors.before_stand_in(join=joined())
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
    page, stand_in = visitors.before_stand_in(join=joined())
    user = {"id": "u-2", "name": "Ben"}
    said = {"type": "said", "group": "any", "position": "p2", "at": 0, "user": user, "text": "Hi"}
    stand_in.answers["join"] = joined(True, {**said, "id": "m-1"})
    expect(page.get_by_text("Messages will stand here.")).to_be_visible()
    stand_in.tell(type="error", code="unavailable", detail="Cut off.", errors=[])
    expect(page.get_by_role("alert")).to_contain_text("Cut off.")
    stand_in.tell(type="incomplete")
    expect(page.get_by_text("Caught up, 1 message")).to_be_visible()
    expect(texts(page)).to_have_text(["Hi"])
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.get_by_text("Messages will stand here.")).to_be_hidden()
    joins = [frame for frame in stand_in.asked if frame["type"] == "join"]
    assert [frame.get("since") for frame in joins if "room" in frame["group"]] == [None, "p1"]


# Sessions


def test_a_refused_name_stays_in_the_form_with_the_reason(visitors: Visitors) -> None:
    """Spaces alone are refused by the form itself, in the words of the label."""
    page = visitors.arrive()
    fill_in(page, "  ")
    expect(page.locator("#name:invalid")).to_have_count(1)
    expect(page.get_by_role("alert")).to_have_count(0)
    fill_in(page, "zero\u200bwidth")
    expect(page.get_by_role("alert")).to_contain_text("visible")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_label("Room", exact=True)).to_have_value(visitors.room)


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


def test_a_providers_session_is_renewed_by_what_the_browser_has(visitors: Visitors) -> None:
    """And when it has nothing newer, at the end, the page asks to sign in there again."""
    page = visitors.new_page()
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
    ada = visitors.sign_in("Ada")
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


def test_a_failed_job_and_a_refused_one_say_so(visitors: Visitors) -> None:
    started = {"type": "job_started", "job": "j", "job_group": "job.j", "kind": "steps"}
    page, stand_in = visitors.before_stand_in(join=joined(), start_job=started)
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
