"""AsyncAPI 3.0 of what consumers declare, and the page that shows it to a person.

Own code: the Python packages that there are give classes for the parts of a document, in the place of the
dicts below, and leave to their user what is done here. The official parser checks it in the tests.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Protocol

from ..type_defs import Event, Receive, Scope, Send
from .consumer import FrameConsumer
from .declaration import Declaration, types_of
from .models import RESERVED, ErrorFrame, Frame
from .page import STYLE, page
from .schemas import PREFIX, Schema, Schemas, text_of

# Of a path of Starlette: "{room}", or "{file:path}" with a converter.
PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")

# What a schema holds that is no schema.
VALUES = {"const", "default", "enum", "examples"}

Reference = dict[str, str]
Asgi = Callable[[Scope, Receive, Send], Any]


class Router(Protocol):
    """An application of FastAPI or Starlette, or a router of theirs."""

    def add_route(self, path: str, route: Any) -> Any: ...


class AsyncAPI:
    """The document of an application's sockets: ``consumers`` maps paths to their consumers.

        api = AsyncAPI("Chat", "1.0", {"/ws/chat/{room}": ChatConsumer})
        api.serve(app)

    ``serve`` adds the document as ``/asyncapi.json``, and a page of it as ``/asyncapi``, which needs no
    other host and no script. Both are made when they are first asked for.
    """

    def __init__(
        self,
        title: str,
        version: str,
        consumers: Mapping[str, type[FrameConsumer]],
        description: str = "",
    ) -> None:
        self.title = title
        self.version = version
        self.consumers = dict(consumers)
        self.description = description

    def serve(self, app: Router, path: str = "/asyncapi") -> None:
        """Add ``path``, ``path``.json and ``path``.css, for GET, to an application."""
        app.add_route(f"{path}.json", _Resource("application/json", lambda: self.json))
        app.add_route(path, _Resource("text/html", lambda: page(self.document, path)))
        app.add_route(f"{path}.css", _Resource("text/css", lambda: STYLE))

    @cached_property
    def json(self) -> str:
        return json.dumps(self.document, ensure_ascii=False, indent=1)

    @cached_property
    def document(self) -> dict[str, Any]:
        """The document as a dict, made of plain values."""
        schemas = Schemas(consumer.declaration for consumer in self.consumers.values())
        info = {"title": self.title, "version": self.version}
        channels: dict[str, Any] = {}
        operations: dict[str, Any] = {}
        messages: dict[str, Any] = {}
        for address, consumer in self.consumers.items():
            channel = Channel(name_for(consumer, channels), address, consumer, schemas)
            channels[channel.name] = channel.as_dict()
            operations |= channel.operations()
            messages |= channel.messages()
        return {
            "asyncapi": "3.0.0",
            "info": info | ({"description": self.description} if self.description else {}),
            "defaultContentType": "application/json",
            "channels": channels,
            "operations": operations,
            "components": {
                "messages": messages,
                "schemas": {name: draft_07(one) for name, one in schemas.definitions.items()},
            },
        }


class Channel:
    """One socket: its messages, and an operation for each frame that comes in and for all that leave."""

    def __init__(
        self, name: str, address: str, consumer: type[FrameConsumer], schemas: Schemas
    ) -> None:
        self.name = name
        self.address = address
        self.consumer = consumer
        self.declaration: Declaration = consumer.declaration
        self.schemas = schemas

    def as_dict(self) -> dict[str, Any]:
        channel: dict[str, Any] = {
            "address": PARAMETER.sub(r"{\1}", self.address),
            "messages": {
                name: {"$ref": f"#/components/messages/{name}"} for name in self.messages()
            },
        }
        if names := PARAMETER.findall(self.address):
            channel["parameters"] = {name: {} for name in names}
        if text := text_of(self.consumer):
            channel["description"] = text
        return channel

    def messages(self) -> dict[str, Any]:
        """By the name of the schema, which tells apart what one model is as input and as output."""
        incoming = {
            self.schemas.incoming(model): self._message(model, self.schemas.incoming(model), "id")
            for model in self.declaration.incoming
        }
        outgoing = {
            self.schemas.outgoing(model): self._message(
                model, self.schemas.outgoing(model), RESERVED
            )
            for model in self.declaration.outgoing
        }
        return incoming | outgoing

    def operations(self) -> dict[str, Any]:
        """As AsyncAPI has it, from the server's side: it receives what a client sends."""
        operations = {
            f"{self.name}.{self.schemas.incoming(model)}": self._operation(model)
            for model in self.declaration.incoming
        }
        sent = [self._reference(self.schemas.outgoing(one)) for one in self.declaration.outgoing]
        operations[f"{self.name}.send"] = {
            "action": "send",
            "channel": {"$ref": f"#/channels/{self.name}"},
            "summary": "What the server sends.",
            "messages": sent,
        }
        return operations

    def _operation(self, model: type[Frame]) -> dict[str, Any]:
        replies: list[type[Any]] = [*self.declaration.replies[model], ErrorFrame]
        return {
            "action": "receive",
            "channel": {"$ref": f"#/channels/{self.name}"},
            "messages": [self._reference(self.schemas.incoming(model))],
            "reply": {
                "channel": {"$ref": f"#/channels/{self.name}"},
                "messages": [
                    self._reference(self.schemas.outgoing(one)) for one in dict.fromkeys(replies)
                ],
            },
        }

    def _reference(self, message: str) -> Reference:
        return {"$ref": f"#/channels/{self.name}/messages/{message}"}

    def _message(self, model: type[Any], name: str, id_field: str) -> dict[str, Any]:
        schema = self.schemas.definitions[name]
        message: dict[str, Any] = {
            "name": " or ".join(types_of(model)),
            "title": model.__name__,
            "payload": {"$ref": PREFIX + name},
        }
        if text := schema.get("description"):
            message["summary"] = text
        if id_field in schema["properties"]:
            message["correlationId"] = {"location": f"$message.payload#/{id_field}"}
        return message


def name_for(consumer: type, taken: Iterable[str]) -> str:
    """The name of the class, with a number if it has another path already."""
    name, number = consumer.__name__, 1
    while name in taken:
        number += 1
        name = f"{consumer.__name__}_{number}"
    return name


def draft_07(schema: Any) -> Any:
    """Pydantic's schema of the draft 2020-12 as AsyncAPI has schemas, which is the draft 07 and a little."""
    if isinstance(schema, list):
        return [draft_07(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result: Schema = {}
    for name, part in schema.items():
        if name == "properties":
            result[name] = {field: draft_07(one) for field, one in part.items()}
        else:
            result[name] = part if name in VALUES else draft_07(part)
    if isinstance(items := result.pop("prefixItems", None), list):
        result["items"] = items
    if isinstance(discriminator := result.get("discriminator"), dict):
        result["discriminator"] = discriminator["propertyName"]
    return result


class _Resource:
    """A text as an ASGI application for GET and HEAD; an object, which Starlette's routes call as such."""

    def __init__(self, media_type: str, text: Callable[[], str]) -> None:
        self._media_type = media_type
        self._text = text

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        known = scope["method"] in ("GET", "HEAD")
        body = self._text().encode() if known else b""
        start: Event = {
            "type": "http.response.start",
            "status": 200 if known else 405,
            "headers": [
                (b"content-type", f"{self._media_type}; charset=utf-8".encode()),
                (b"content-length", str(len(body)).encode()),
                (b"x-content-type-options", b"nosniff"),
                *([] if known else [(b"allow", b"GET, HEAD")]),
            ],
        }
        await send(start)
        await send(
            {"type": "http.response.body", "body": body if scope["method"] == "GET" else b""}
        )
