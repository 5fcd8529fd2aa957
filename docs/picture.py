"""The picture of the README and the docs, from the real page: ``docs/_static/page.png``.

Start a demonstration, ``JOB_STEP_SECONDS=1 make demo PORT=8790``, and then, with Chromium on PATH:

    uv run --no-project --with playwright python docs/picture.py http://127.0.0.1:8790

Three people talk; one was in a tunnel, and has caught up. An answer and a job with steps are under way.
"""

import shutil
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, WebSocketRoute, expect, sync_playwright

PICTURE = Path(__file__).parent / "_static" / "page.png"
SIZE = {"width": 1280, "height": 880}


class Tunnel:
    """Around the connections of one page."""

    def __init__(self) -> None:
        self.within = False
        self.routes: list[WebSocketRoute] = []

    def carry(self, route: WebSocketRoute) -> None:
        if self.within:
            route.close(code=1012)
            return
        self.routes.append(route)
        route.connect_to_server()

    def enter(self) -> None:
        self.within = True
        self.routes[-1].close(code=1012)


class Room:
    def __init__(self, browser: Browser, url: str) -> None:
        self.browser = browser
        self.url = f"{url}/?room=lobby"
        self.said = 0

    def join(self, name: str, tunnel: Tunnel | None = None, **context: Any) -> Page:
        page = self.browser.new_context(locale="en-GB", **context).new_page()
        if tunnel is not None:
            page.route_web_socket("**/ws/**", tunnel.carry)
        page.goto(self.url)
        page.get_by_label("Your name").fill(name)
        page.get_by_role("button", name="Join").click()
        expect(page.locator("#state")).to_have_text("Online")
        return page

    def say(self, page: Page, text: str, *seen_by: Page) -> None:
        self.said += 1
        page.get_by_label("Message", exact=True).fill(text)
        page.keyboard.press("Enter")
        for other in seen_by:
            expect(other.locator("#log .text")).to_have_count(self.said)


def take(browser: Browser, url: str) -> None:
    room, tunnel = Room(browser, url), Tunnel()
    mina = room.join("Mina", tunnel, viewport=SIZE)
    jonas, imke = room.join("Jonas"), room.join("Imke")
    imke.context.new_page().goto(room.url)  # her other device
    expect(mina.locator("#members")).to_contain_text("2 devices")
    room.say(jonas, "Good morning! Does the nightly import still run?", mina)
    room.say(mina, "It finished at six.", mina, jonas)
    room.say(mina, "I am on the train now, see you at nine.", mina, jonas)
    tunnel.enter()
    expect(mina.get_by_role("button", name="Try now")).to_be_visible()
    room.say(imke, "Have a good trip. I am here on two devices, and both see the same.", jonas)
    link = "https://fastapi.tiangolo.com/advanced/websockets/"
    room.say(jonas, f"How that works: {link}", imke)
    tunnel.within = False
    room.say(mina, "Out of the tunnel again!")
    expect(mina.get_by_text("Caught up, 2 messages")).to_be_visible()
    expect(mina.locator("#log .text")).to_have_count(6)
    mina.get_by_placeholder("Ask something").fill("What is kept of an answer?")
    mina.get_by_role("button", name="Ask", exact=True).click()
    mina.get_by_role("button", name="Run steps").click()
    mina.get_by_label("Message", exact=True).fill("And nothing is missed.")
    mina.mouse.move(500, 150)
    expect(mina.locator("[data-kind=answer] .output")).to_contain_text("each word")
    jonas.get_by_label("Message", exact=True).press_sequentially("W")
    expect(mina.locator("#typing")).to_contain_text("typing")
    mina.screenshot(path=PICTURE)


def main() -> None:
    expect.set_options(timeout=60_000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox"],
        )
        take(browser, sys.argv[1].rstrip("/"))
        browser.close()


if __name__ == "__main__":
    main()
