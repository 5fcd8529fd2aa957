"""What the page outlives: in Chromium, before two web processes and a worker on real Redis.

Each test counts what was sent and what each page shows. With pub/sub nothing is kept: a page that was away
is told that it may have missed something.
"""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from operator import methodcaller
from pathlib import Path

import httpx
import pytest
from itsdangerous import TimestampSigner

pytest.importorskip("playwright.sync_api", reason="needs Playwright: uv sync --group browser")

from playwright.sync_api import Browser, Route, WebSocketRoute, expect

from ..fast_channels.support.redis_servers import wait_until
from .broker import Broker
from .drops import KEPT
from .pages import (
    Idle,
    Visitors,
    ask,
    count,
    fill_in,
    is_in,
    keep_writing,
    members,
    pending,
    say,
    send_all,
    state,
    stop_writing,
    texts,
    write,
)
from .processes import WebProcess, WorkerProcess
from .tunnel import Tunnel

SECRET = "a secret of these tests, long enough"
needs_history = pytest.mark.skipif(not KEPT, reason="pub/sub keeps nothing, which is told")


@pytest.fixture(scope="module")
def settings(broker: Broker) -> dict[str, str]:
    """With which jobs take minutes: none ends before it is cancelled."""
    return {"SECRET_KEY": SECRET, "REDIS_URL": broker.url, "JOB_STEP_SECONDS": "10"}


@pytest.fixture(scope="module")
def both(
    settings: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[WebProcess, WebProcess]]:
    """Two web processes."""
    folder = tmp_path_factory.mktemp("pages")
    a, b = WebProcess(folder, settings), WebProcess(folder, settings)
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        for process in (a, b):
            stack.callback(process.kill)
        list(pool.map(methodcaller("start"), (a, b)))
        yield a, b


@pytest.fixture
def worker(settings: dict[str, str], tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(tmp_path, settings) as worker:
        yield worker


@pytest.fixture(scope="module")
def tunnels(both: tuple[WebProcess, WebProcess]) -> Iterator[tuple[Tunnel, Tunnel]]:
    """To the one process, or to the other, as long as that is there. Addresses stay, and so do visitors."""
    ports = [process.port for process in both]
    with Tunnel(*ports) as one, Tunnel(*ports[::-1]) as other:
        yield one, other


@pytest.fixture
def tunnel(both: tuple[WebProcess, WebProcess], tunnels: tuple[Tunnel, Tunnel]) -> Tunnel:
    """Whole, and its processes run, whatever the test before did to them."""
    for process in both:
        process.start()
    tunnels[0].mend()
    return tunnels[0]


@pytest.fixture
def other_way(tunnels: tuple[Tunnel, Tunnel]) -> Tunnel:
    return tunnels[1]


@pytest.fixture
def travellers(browser: Browser, idle_pages: Idle, tunnel: Tunnel) -> Iterator[Visitors]:
    with Visitors(browser, tunnel.url, idle_pages) as travellers:
        yield travellers


def test_nothing_is_missed_in_ten_seconds_offline(
    travellers: Visitors, tunnel: Tunnel, other_way: Tunnel
) -> None:
    """Two devices of Ada; one is away while Ben goes on writing and both write: each once, in order."""
    ada = travellers.join("Ada")
    ben, home = (travellers.join(name, url=other_way.url) for name in ("Ben", "Ada"))
    say(ada, "Before the tunnel")
    expect(texts(ben)).to_have_count(1)
    travellers.outage_expected = True
    ada.context.set_offline(True)
    tunnel.cut()
    expect(state(ada)).to_have_text("Offline, trying again")
    keep_writing("Ben", ben, pause=250)
    write(ada, "Ada 0", "Ada 1", "Ada 2")
    expect(pending(ada)).to_contain_text(["Waiting for the connection"] * 3)
    ada.wait_for_timeout(10_000)
    missed = stop_writing(ben)
    expect(texts(home)).to_have_count(1 + missed)
    ada.context.set_offline(False)
    tunnel.mend()
    if not KEPT:
        expect(ada.get_by_text("You may have missed messages.")).to_be_visible()
        expect(texts(ada)).to_have_text(["Before the tunnel", "Ada 0", "Ada 1", "Ada 2"])
        return
    expect(ada.get_by_text(f"Caught up, {missed} messages")).to_be_visible()
    expect(pending(ada)).to_have_count(0)
    count("ten seconds offline", 1 + missed + 3, ada, ben, home)
    expect(members(ben)).to_have_text(["Ben", "Ada", "Ada"])


@needs_history
def test_web_processes_that_end_lose_nothing(
    travellers: Visitors, both: tuple[WebProcess, WebProcess]
) -> None:
    """Both sides write without a pause, while the one process dies, and the other is restarted."""
    ada, ben = travellers.join("Ada"), travellers.join("Ben")
    travellers.outage_expected = True
    keep_writing("Ada", ada)
    keep_writing("Ben", ben)
    for process, end in zip(both, ("kill", "stop"), strict=True):
        shown = texts(ada).count()
        getattr(process, end)()
        for page in (ada, ben):  # they come back to the other one, and go on
            expect(texts(page).nth(shown + 12)).to_be_attached()
        process.start()
    sent = stop_writing(ada, ben)
    for page in (ada, ben):
        expect(pending(page)).to_have_count(0)
        expect(state(page)).to_have_text("Online")
    count("processes that end", sent, ada, ben)


def test_an_outage_of_redis_is_outlived(
    travellers: Visitors, other_way: Tunnel, broker: Broker
) -> None:
    """Both sides write without a pause, from before it, over a failover if there is one, until after it."""
    ada, ben = travellers.join("Ada"), travellers.join("Ben", url=other_way.url)
    travellers.outage_expected = True
    keep_writing("Ada", ada)
    keep_writing("Ben", ben)
    expect(texts(ada).nth(5)).to_be_attached()
    broker.lose()
    try:
        ada.wait_for_timeout(2_000)
    finally:
        broker.recover()
    ready = [f"{url}/health/ready" for url in (travellers.url, other_way.url)]
    wait_until(
        lambda: all(httpx.get(one).is_success for one in ready), what="Redis again", timeout=60
    )
    ada.wait_for_timeout(1_000)
    sent = stop_writing(ada, ben)
    for page in (ada, ben):
        send_all(page)
    count("over an outage of Redis", sent, ada, ben)


def test_signing_out_in_one_tab_signs_out_the_other(
    travellers: Visitors, other_way: Tunnel
) -> None:
    """Before another process. What was not sent yet is in the composer of whoever signs in there again."""
    ben, ada = travellers.join("Ben"), travellers.arrive()
    ada.route_web_socket("**/ws/**", swallow_what_is_said_after("Ada 2"))
    fill_in(ada, "Ada")
    write(is_in(ada), *(f"Ada {number}" for number in range(4)))
    expect(pending(ada)).to_contain_text(["Sending…"])
    other = travellers.again(ada, url=other_way.url)
    other.get_by_role("button", name="Sign out").click()
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(ada.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(ada.get_by_role("alert")).to_have_text("You signed out.")
    expect(other.get_by_role("alert")).to_have_count(0)
    fill_in(ada, "Ada")
    expect(is_in(ada).get_by_label("Message", exact=True)).to_have_value("Ada 3")
    ada.get_by_role("button", name="Send", exact=True).click()
    count("over a sign-out in another tab", 4, ada, ben)


def swallow_what_is_said_after(text: str) -> Callable[[WebSocketRoute], None]:
    """It is lost on its way to the server, on the page's first connection."""
    routes: list[WebSocketRoute] = []

    def carry(route: WebSocketRoute) -> None:
        upstream, passes = route.connect_to_server(), [True]
        routes.append(route)

        def pass_on(message: str | bytes) -> None:
            frame = json.loads(message)
            if passes[0] or frame["type"] != "say":
                upstream.send(message)
            passes[0] = passes[0] and frame.get("text") != text

        route.on_message(pass_on if len(routes) == 1 else upstream.send)

    return carry


def test_the_end_of_a_session_is_told(travellers: Visitors, other_way: Tunnel) -> None:
    """The page that could not renew it asks to sign in again, and then shows all that was said."""
    ben, ada = travellers.join("Ben"), travellers.join("Ada", url=other_way.url)
    travellers.outage_expected = True  # renewals that are prevented
    write(ada, "Ada 0")
    expect(pending(ada)).to_have_count(0)
    ada.route("**/session", let_it_end_soon)
    ada.reload()
    keep_writing("Ben", ben)
    expect(ada.get_by_role("alert")).to_contain_text("session has")
    expect(ada.get_by_role("heading", name="Sign in")).to_be_visible()
    ada.unroute("**/session")
    fill_in(ada, "Ada")
    is_in(ada)
    sent = 1 + stop_writing(ben)
    if KEPT:
        count("over the end of a session", sent, ada, ben)


def let_it_end_soon(route: Route) -> None:
    """Who is asked for a session has one, and then only for a while; none is renewed."""
    if route.request.method == "POST":
        route.abort()
        return
    answer, now = route.fetch(), time.time()
    if answer.ok:
        ends = {"id": "s-1", "user": answer.json()["user"], "since": now, "expires_at": now + 4}
        cookie = TimestampSigner(SECRET).sign(b64encode(json.dumps(ends).encode())).decode()
        context = route.request.frame.page.context
        context.add_cookies([{"name": "session", "value": cookie, "url": route.request.url}])
    route.fulfill(response=answer)


@pytest.mark.usefixtures("worker")
def test_a_job_is_cancelled_by_its_button(travellers: Visitors) -> None:
    """While it runs; its worker is another process."""
    page = travellers.join("Ada")
    row = ask(page, "Much to say")
    expect(row).to_have_attribute("data-state", "running")
    row.get_by_role("button", name="Cancel").click()
    expect(row.locator(".state")).to_have_text("Cancelled")
    expect(row.get_by_role("button", name="Cancel")).to_be_hidden()
