"""An AsyncAPI document as a page for a person: plain HTML and one stylesheet, without any script.

Invariants: it asks no other host for anything and holds nothing inline, so that it works under the policy
``default-src 'self'``; all that comes from the document is escaped.
"""

import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

from .typescript import type_of, word

STYLE = Path(__file__).with_name("page.css").read_text(encoding="utf-8")

Part = dict[str, Any]

# What is said of a field beside its type: keyword of JSON schema -> how it is read.
RULES = {
    "minLength": "length ≥ {}",
    "maxLength": "length ≤ {}",
    "pattern": "matches {}",
    "format": "{}",
    "minimum": "≥ {}",
    "maximum": "≤ {}",
    "exclusiveMinimum": "> {}",
    "exclusiveMaximum": "< {}",
    "minItems": "items ≥ {}",
    "maxItems": "items ≤ {}",
    "default": "{} if left out",
}


def page(document: Part, path: str) -> str:
    """The page of a document that is served as ``path``.json, beside ``path``.css."""
    info = document["info"]
    title, name = escape(info["title"]), escape(path.rpartition("/")[2])
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<title>{title}: sockets</title>\n<link rel="stylesheet" href="{name}.css">',
            f"<header>\n<h1>{title} <small>{escape(info['version'])}</small></h1>",
            paragraph(info.get("description", "")),
            f'<p>For programs: <a href="{name}.json">AsyncAPI 3.0</a>.</p>\n</header>\n<main>',
            *(channel(document, one) for one in document["channels"]),
            *others(document),
            "</main>\n</html>\n",
        ]
    )


def channel(document: Part, name: str) -> str:
    """A socket: what the client sends, each with what answers it, and what the server sends."""
    part, itself = document["channels"][name], {"$ref": f"#/channels/{name}"}
    operations = [one for one in document["operations"].values() if one["channel"] == itself]
    sent, received = [], []
    for operation in operations:
        for reference in operation["messages"]:
            if operation["action"] == "receive":
                sent.append(message(document, reference, answers(document, operation)))
            else:
                received.append(message(document, reference))
    return "\n".join(
        [
            f"<section>\n<h2><code>{escape(part['address'])}</code></h2>",
            paragraph(part.get("description", "")),
            "<h3>The client sends</h3>",
            *sent,
            "<h3>The server sends</h3>",
            *received,
            "</section>",
        ]
    )


def answers(document: Part, operation: Part) -> str:
    messages = document["components"]["messages"]
    names = (code(messages[end(one)]["name"]) for one in operation["reply"]["messages"])
    return f"<p>Answered by {' or '.join(names)}, if it has an id.</p>"


def message(document: Part, reference: Part, more: str = "") -> str:
    one = document["components"]["messages"][end(reference)]
    schema = document["components"]["schemas"][end(one["payload"])]
    head = f"<article>\n<h4>{code(one['name'])}</h4>\n{paragraph(one.get('summary', ''))}"
    return f"{head}{more}\n{fields(schema)}</article>"


def others(document: Part) -> Iterator[str]:
    """The schemas that are parts of messages."""
    messages = document["components"]["messages"].values()
    schemas = document["components"]["schemas"]
    whole = {end(one["payload"]) for one in messages}
    if parts := sorted(schemas.keys() - whole):
        yield "<section>\n<h2>Parts of frames</h2>"
        for name in parts:
            head = f"<article>\n<h4>{code(word(name))}</h4>"
            yield head + paragraph(schemas[name].get("description", ""))
            yield (fields(schemas[name]) or code(type_of(schemas[name]))) + "</article>"
        yield "</section>"


def fields(schema: Part) -> str:
    """A table of an object's fields."""
    required = schema.get("required", [])
    rows = [
        f"<tr><th scope=row>{code(name)}{'' if name in required else ' <small>optional</small>'}</th>"
        f"<td>{code(type_of(part))}</td><td>{about(part, name in required)}</td></tr>"
        for name, part in schema.get("properties", {}).items()
    ]
    return f"<table>\n{chr(10).join(rows)}\n</table>\n" if rows else ""


def about(part: Part, required: bool) -> str:
    """The description of a field and its rules, which stand with the type that is not null."""
    rules = part | next((one for one in part.get("anyOf", []) if one.get("type") != "null"), {})
    if required:
        rules.pop("default", None)
    texts = [
        sign.format(rules[keyword])
        for keyword, sign in RULES.items()
        if rules.get(keyword) not in (None, "", [], {})
    ]
    small = f" <small>{escape(', '.join(texts))}</small>" if texts else ""
    return f"{prose(part.get('description', ''))}{small}"


def end(reference: Part) -> str:
    """The name of what it leads to."""
    return str(reference["$ref"]).rpartition("/")[2]


def code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def paragraph(text: str) -> str:
    return f'<p class="text">{prose(text)}</p>' if text else ""


def prose(text: str) -> str:
    """A docstring's text, in which code stands between two backticks each."""
    return re.sub("``(.+?)``", r"<code>\1</code>", escape(text))
