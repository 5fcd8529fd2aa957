"""The page, its assets, and what HTTP refuses."""

import re
import shutil
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest

from .visitors import sign_in

TYPES = {
    "css": "text/css",
    "webmanifest": "application/manifest+json",
    "js": "text/javascript",
    "svg": "image/svg+xml",
}


async def test_the_page_comes_with_headers_that_protect_it(client: httpx.AsyncClient) -> None:
    """Only its own code and styles run, nobody frames it, and no type is guessed."""
    response = await client.get("/")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    policy = response.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "same-origin"


async def test_everything_that_the_page_names_is_served_with_its_type(
    client: httpx.AsyncClient,
) -> None:
    """Beginning with the page, through the imports of its modules; nothing is elsewhere."""
    found = await crawl(client, "/")
    assert {path.rpartition(".")[2] for path in found} == set(TYPES)
    for path, content_type in found.items():
        assert content_type.partition(";")[0] == TYPES[path.rpartition(".")[2]], path


async def test_no_asset_is_left_over(client: httpx.AsyncClient) -> None:
    """But for types, which are for editors."""
    static = files("{{ cookiecutter.project_slug }}") / "static"
    names = {asset.name for asset in static.iterdir()} - {"index.html"}
    assets = {f"/static/{name}" for name in names if not name.endswith(".d.ts")}
    assert set(await crawl(client, "/")) == assets


@pytest.mark.parametrize("path", ["/static/", "/static/../main.py", "/static/%2e%2e/main.py"])
async def test_nothing_but_assets_is_served(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("room", "body"),
    [
        ("two words", {"text": "Hello"}),
        ("r" * 51, {"text": "Hello"}),
        ("lobby", {"text": " "}),
        ("lobby", {"text": "t" * 2001}),
        ("lobby", {"text": 5}),
        ("lobby", {}),
        ("lobby", []),
    ],
)
async def test_a_bad_message_is_refused_with_the_reason(
    client: httpx.AsyncClient, room: str, body: Any
) -> None:
    await sign_in(client, "Ada")
    response = await client.post(f"/rooms/{room}/messages", json=body)
    assert response.status_code == 422
    detail = response.json()["detail"]
    assert re.fullmatch(r"(room|text|body): [^\n]{10,80}", detail)


BAD_BODIES = {
    "a number beyond all numbers": (b'{"text": 1e400}', 422),
    "no number": (b'{"text": NaN}', 422),
    "half a surrogate pair": (b'{"text": "secret \\ud800"}', 422),
    "half a surrogate pair in a key": (b'{"text": 5, "\\udfff": 1}', 422),
    "a number that is too long": (b'{"text": ' + b"1" * 5000 + b"}", 400),
    "deep nesting": (b"[" * 60_000, 400),
    "no UTF-8": (b'{"text": "secret \xff"}', 400),
    "half a text": (b'{"text": "secret', 422),
    "nothing": (b"", 422),
}


@pytest.mark.parametrize(("body", "status"), BAD_BODIES.values(), ids=BAD_BODIES.keys())
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_a_body_that_is_no_message_gets_one_sentence_without_the_body(
    client: httpx.AsyncClient, room: str, body: bytes, status: int, content_type: str
) -> None:
    """What came may be unfit for JSON, or a secret: an answer that repeats it can be neither."""
    await sign_in(client, "Ada")
    response = await client.post(
        f"/rooms/{room}/messages", content=body, headers={"content-type": content_type}
    )
    assert response.status_code == (status if content_type == "application/json" else 422)
    assert set(response.json()) == {"detail"}
    detail = response.json()["detail"]
    assert re.fullmatch(r"[^\n]{10,100}", detail)
    assert "secret" not in detail
    assert "surrogate" not in detail


async def test_the_schema_tells_how_a_refusal_looks(client: httpx.AsyncClient) -> None:
    schema = (await client.get("/openapi.json")).json()
    responses = schema["paths"]["/rooms/{room}/messages"]["post"]["responses"]
    for status in ("401", "422", "429"):
        reference = responses[status]["content"]["application/json"]["schema"]["$ref"]
        assert reference.endswith("/Refusal")


async def test_the_page_has_the_name_of_the_manifest(
    client: httpx.AsyncClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As text, whatever the name holds."""
    from {{ cookiecutter.project_slug }} import main

    shutil.copytree(main.STATIC, tmp_path, dirs_exist_ok=True)
    (tmp_path / "app.webmanifest").write_text('{"name": "<b>Chät</b> & $name"}', encoding="utf-8")
    monkeypatch.setattr(main, "STATIC", tmp_path)
    response = await client.get("/")
    assert "<title>&lt;b&gt;Chät&lt;/b&gt; &amp; $name</title>" in response.text


async def crawl(client: httpx.AsyncClient, start: str) -> dict[str, str]:
    """The content type of each file that `start` or a file found before refers to."""
    found: dict[str, str] = {}
    waiting = [start]
    while waiting:
        base = waiting.pop()
        response = await client.get(base)
        assert response.status_code == 200, base
        if base != start:
            found[base] = response.headers["content-type"]
        pattern = r'from "(\./[^"]+)"' if base.endswith(".js") else r'(?:href|src)="([^"]+)"'
        paths = {urljoin(base, link) for link in re.findall(pattern, response.text)}
        waiting += paths - found.keys() - set(waiting)
    return found


async def test_a_body_that_is_too_long_is_refused(client: httpx.AsyncClient) -> None:
    """64 KiB by default (MAX_BODY_BYTES), in one sentence, whether the length is declared or not."""

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(9):
            yield b" " * 8192

    for content in (b" " * 65_537, parts()):
        response = await client.post("/rooms/lobby/messages", content=content)
        assert response.status_code == 413
        assert response.text == "The body is longer than 65536 bytes."
