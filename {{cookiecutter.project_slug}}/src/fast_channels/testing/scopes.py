"""Scopes filled in as uvicorn fills them."""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import quote, unquote

from ..type_defs import Headers, HeadersInput, Scope

SERVER = ("testserver", 80)
CLIENT = ("testclient", 50000)

# What a client leaves as it is when it sends a URL: everything but spaces, quotes and non-ASCII.
URL_CHARACTERS = "!$%&'()*+,/:;=?@[]~-._"


def connection_scope(
    path: str,
    headers: HeadersInput | Mapping[str, str] | None,
    *,
    spec_version: str,
    **fields: Any,
) -> Scope:
    """A scope for `path`, which may carry a query string (`/room/?name=Ann`)."""
    target, _, query = path.partition("#")[0].partition("?")
    raw_path = quote(target, safe=URL_CHARACTERS)
    return {
        "asgi": {"version": "3.0", "spec_version": spec_version},
        "http_version": "1.1",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode("ascii"),
        "query_string": quote(query, safe=URL_CHARACTERS).encode("ascii"),
        "root_path": "",
        "headers": header_pairs(headers),
        "client": CLIENT,
        "server": SERVER,
        "state": {},
        **fields,
    }


def header_pairs(headers: HeadersInput | Mapping[str, str] | None) -> Headers:
    """Pairs of bytes with lower-case names, as a server passes them on; str is latin-1."""
    pairs = cast(HeadersInput, headers.items() if isinstance(headers, Mapping) else headers or ())
    return [(_encoded(name).lower(), _encoded(value)) for name, value in pairs]


def _encoded(value: str | bytes) -> bytes:
    return value.encode("latin-1") if isinstance(value, str) else bytes(value)
