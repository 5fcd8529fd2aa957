"""AsyncAPI 3.0 of what consumers declare, and the page that shows it to a person.

Own code: the Python packages that there are give classes for the parts of a document, in the place of the
dicts below, and leave to their user what is done here. The official parser checks it in the tests.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router

from .consumer import FrameConsumer
from .declaration import types_of
from .models import RESERVED, ErrorFrame
from .page import STYLE, page
from .schemas import PREFIX, Schemas, text_of

# Of a path of Starlette: "{room}", or "{file:path}" with a converter.
PARAMETER = re.compile(r"\{(\w+)(?::\w+)?\}")

Reference = dict[str, str]


@dataclass(eq=False)
class AsyncAPI:
    """The document of an application's sockets: ``consumers`` maps paths to their consumers.

        api = AsyncAPI("Chat", "1.0", {"/ws/chat/{room}": ChatConsumer})
        api.serve(app)

    ``serve`` adds the document as ``/asyncapi.json``, and a page of it as ``/asyncapi``, which needs no
    other host and no script. Both are made when they are first asked for.
    """

    title: str
    version: str
    consumers: Mapping[str, type[FrameConsumer]]
    description: str = ""

    def serve(self, app: Starlette | Router, path: str = "/asyncapi") -> None:
        """Add ``path``, ``path``.json and ``path``.css, for GET, to an application or a router."""

        def add(suffix: str, media_type: str, text: Callable[[], str]) -> None:
            async def get(request: Request) -> Response:
                headers = {"x-content-type-options": "nosniff"}
                content_type = f"{media_type}; charset=utf-8"
                return Response(text(), headers=headers, media_type=content_type)

            app.add_route(path + suffix, get)

        add(".json", "application/json", lambda: self.json)
        add("", "text/html", lambda: page(self.document, path))
        add(".css", "text/css", lambda: STYLE)

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
                "schemas": schemas.definitions,
            },
        }


@dataclass(frozen=True)
class Channel:
    """One socket: its messages, and an operation for each frame that comes in and for all that leave."""

    name: str
    address: str
    consumer: type[FrameConsumer]
    schemas: Schemas

    def as_dict(self) -> dict[str, Any]:
        messages = {name: {"$ref": f"#/components/messages/{name}"} for name in self.messages()}
        address = PARAMETER.sub(r"{\1}", self.address)
        channel: dict[str, Any] = {"address": address, "messages": messages}
        if names := PARAMETER.findall(self.address):
            channel["parameters"] = {name: {} for name in names}
        if text := text_of(self.consumer):
            channel["description"] = text
        return channel

    def messages(self) -> dict[str, Any]:
        """By the name of the schema, which tells apart what one model is as input and as output."""
        incoming, outgoing = self.schemas.incoming, self.schemas.outgoing
        declaration = self.consumer.declaration
        return {
            incoming(model): self._message(model, incoming(model), "id")
            for model in declaration.incoming
        } | {
            outgoing(model): self._message(model, outgoing(model), RESERVED)
            for model in declaration.outgoing
        }

    def _message(self, model: type[BaseModel], name: str, id_field: str) -> dict[str, Any]:
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

    def operations(self) -> dict[str, Any]:
        """As AsyncAPI has it, from the server's side: it receives what a client sends."""
        itself = {"$ref": f"#/channels/{self.name}"}
        operations: dict[str, Any] = {}
        for model, replies in self.consumer.declaration.replies.items():
            name = self.schemas.incoming(model)
            operations[f"{self.name}.{name}"] = {
                "action": "receive",
                "channel": itself,
                "messages": [self._reference(name)],
                "reply": {"channel": itself, "messages": self._sent([*replies, ErrorFrame])},
            }
        operations[f"{self.name}.send"] = {
            "action": "send",
            "channel": itself,
            "summary": "What the server sends.",
            "messages": self._sent(self.consumer.declaration.outgoing),
        }
        return operations

    def _sent(self, models: Iterable[type[BaseModel]]) -> list[Reference]:
        return [self._reference(self.schemas.outgoing(one)) for one in dict.fromkeys(models)]

    def _reference(self, message: str) -> Reference:
        return {"$ref": f"#/channels/{self.name}/messages/{message}"}


def name_for(consumer: type, taken: Iterable[str]) -> str:
    """The name of the class, with a number if it has another path already."""
    name, number = consumer.__name__, 1
    while name in taken:
        number += 1
        name = f"{consumer.__name__}_{number}"
    return name
