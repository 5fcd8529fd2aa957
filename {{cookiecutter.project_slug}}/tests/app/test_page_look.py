"""How the page looks, to eyes, a keyboard and a screen reader: in Chromium, before a server in memory."""

from typing import Any

import httpx
import pytest

pytest.importorskip("playwright.sync_api", reason="needs Playwright: uv sync --group browser")

from axe_playwright_python.base import AXE_SCRIPT as AXE, AxeResults
from playwright.sync_api import Page, ViewportSize, expect

from .pages import (
    Visitors,
    ask,
    fill_in,
    joined,
    pending,
    say,
    texts,
    write,
)

# Of axe-core, which finds what a program can find of the Web Content Accessibility Guidelines.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RULES_OF_COLOUR = ["color-contrast", "link-in-text-block"]
BOTTOM = "(one) => Math.round(one.getBoundingClientRect().bottom)"


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
    # Imported by an address of its own it is another module, which has seen nobody yet.
    hues = visitors.join("Ada").evaluate(
        """async () => {
            const { hueOf } = await import("/static/people.js?none-yet");
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
    page, other = visitors.sign_in("Ada"), visitors.join("Ben")
    log, newest = page.get_by_role("log"), texts(page).last
    write(other, *(f"Line {number}" for number in range(30)))
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
    rows = visitors.join("Ada").evaluate(
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


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_moves_away_under_the_pointer(visitors: Visitors, width: int) -> None:
    """While answers grow and people come: each button stays where it is."""
    page, stand_in = visitors.before_stand_in({"width": width, "height": 740}, join=joined())
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


def check(page: Page, view: str) -> None:
    """No violation of any of the rules; dark, of those that look at colours: nothing else differs."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    for scheme, only in (("light", RULES), ("dark", RULES_OF_COLOUR)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        options = {"runOnly": only, "resultTypes": ["violations"]}
        results = AxeResults(page.evaluate("(options) => axe.run(options)", options))
        assert results.response["passes"]
        assert results.violations_count == 0, f"{view}, {scheme}\n{results.generate_report()}"
    page.emulate_media(color_scheme="null", reduced_motion="null")


PHONE: ViewportSize = {"width": 360, "height": 740}
DESK: ViewportSize = {"width": 1280, "height": 740}


def test_nobody_is_shut_out_of_the_form(visitors: Visitors) -> None:
    page = visitors.arrive(viewport=PHONE)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    fill_in(page, "zero\u200bwidth")
    expect(page.get_by_role("alert")).to_contain_text("visible")
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        check(page, f"sign-in refused, {size}")


def test_nobody_is_shut_out_of_the_chat(visitors: Visitors) -> None:
    """With all that a room, its people and jobs can show; while the line is there, and while it is not."""
    page, stand_in = visitors.before_stand_in(
        DESK, join=all_there_is, start_job=refusal("Too many jobs."), say=refusal("Too fast.")
    )
    expect(texts(page)).to_have_count(3)
    stand_in.tell(type="typing", group=f"room.{visitors.room}", user=USERS[2])
    write(page, "Refused")
    expect(pending(page)).to_contain_text(["Not delivered. Too fast."])
    stand_in.tell(**refusal("What was that?"))
    expect(page.get_by_role("alert")).to_contain_text(["What was that?"])
    check(page, "room")
    page.set_viewport_size(PHONE)
    check(page, "room on a phone")
    for button in ("here", "Jobs"):
        page.get_by_role("button", name=button).click()
        check(page, button)
        page.keyboard.press("Escape")
    stand_in.away = True
    stand_in.route.close(code=1012)
    expect(page.get_by_role("button", name="Try now")).to_be_visible()
    for size in (PHONE, DESK):
        page.set_viewport_size(size)
        check(page, f"reconnecting, {size}")


USERS = [{"id": f"u-{number}", "name": name} for number, name in enumerate(["Mina", "Ada", "Ada"])]
TEXTS = ["See https://example.com/", "Yes", "No"]
STATES = {"done": "answer", "failed": "steps", "cancelled": "answer", "answering": "answer"}


def refusal(detail: str) -> dict[str, Any]:
    return {"type": "error", "code": "refused", "detail": detail, "errors": []}


def all_there_is(frame: dict[str, Any]) -> dict[str, Any]:
    """The answer to a join: two who bear one name beside the page's own user, and jobs in each state."""
    group = frame["group"]
    kind, _, name = group.partition(".")
    events: list[dict[str, Any]] = []
    if kind == "room":
        events = [
            {"type": "said", "id": user["id"], "user": user, "text": text, "at": 1.8e9}
            for user, text in zip(USERS, TEXTS, strict=True)
        ]
    elif group == "jobs.me":
        events = [
            {"type": "job_started", "job": job, "job_group": f"job.{job}", "kind": kind}
            for job, kind in STATES.items()
        ]
    elif STATES[name] == "answer":
        events = [{"type": "job_output", "text": "Because it is so."}]
    else:
        events = [{"type": "job_progress", "done": 1, "total": 4, "label": "Reading"}]
    if kind == "job" and name != "answering":
        events.append({"type": "job_ended", "state": name, "detail": "In the end."})
    members = [{**user, "connections": 2} for user in USERS] if kind == "room" else []
    there = {"members": members, "member_count": len(members)}
    return {"type": "joined", "complete": True, "position": "p1", "events": events, **there}
