"""JSON schemas of what consumers declare, for the pages and types that are made of them.

What the client sends is described as it is validated, what the server sends as it is serialized, and
what is only in the wire is added: a ``type`` that has to be there, the ``reply_to`` of an answer.
"""

import inspect
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core import core_schema

from .declaration import Declaration
from .models import RESERVED, ErrorFrame, Frame

Schema = dict[str, Any]
Mode = Literal["validation", "serialization"]

PREFIX = "#/components/schemas/"
REPLY_TO: Schema = {
    "type": "string",
    "description": "The id of the frame that this one answers; only in an answer.",
}


class WireSchema(GenerateJsonSchema):
    """A frame is sent with all its fields, those that have a default as well.

    Tuples and discriminators are as AsyncAPI has schemas, which is the draft 07 and a little.
    """

    def field_is_required(self, field: Any, total: bool) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)

    def tuple_schema(self, schema: core_schema.TupleSchema) -> Schema:
        result = super().tuple_schema(schema)
        if "prefixItems" in result:
            result["items"] = result.pop("prefixItems")
        return result

    def tagged_union_schema(self, schema: core_schema.TaggedUnionSchema) -> Schema:
        result = super().tagged_union_schema(schema)
        if "discriminator" in result:
            result["discriminator"] = result["discriminator"]["propertyName"]
        return result


class Schemas:
    """The schemas of all frames of some consumers, each by its name in ``definitions``."""

    def __init__(self, declarations: Iterable[Declaration]) -> None:
        declarations = list(declarations)
        wanted: dict[tuple[type[BaseModel], Mode], None] = {}
        for one in declarations:
            wanted |= dict.fromkeys((model, "validation") for model in one.incoming)
            wanted |= dict.fromkeys((model, "serialization") for model in one.outgoing)
        references, schema = models_json_schema(
            list(wanted), ref_template=PREFIX + "{model}", schema_generator=WireSchema
        )
        self.definitions: dict[str, Schema] = schema.get("$defs", {})
        self._names = {key: name_of(reference) for key, reference in references.items()}
        for one in declarations:
            self._describe_wire(one)

    def incoming(self, model: type[Frame]) -> str:
        """The name of what the client sends."""
        return self._names[model, "validation"]

    def outgoing(self, model: type[BaseModel]) -> str:
        """The name of what the server sends."""
        return self._names[model, "serialization"]

    def _describe_wire(self, declaration: Declaration) -> None:
        for model in declaration.incoming:
            schema = self.definitions[self.incoming(model)]
            schema["required"] = list(dict.fromkeys(["type", *schema.get("required", [])]))
        answers = {reply for replies in declaration.replies.values() for reply in replies}
        for reply in answers | {ErrorFrame}:
            self.definitions[self.outgoing(reply)]["properties"][RESERVED] = REPLY_TO


def name_of(reference: Schema) -> str:
    """That of a definition, of a reference to it."""
    return str(reference["$ref"]).removeprefix(PREFIX)


def text_of(thing: object) -> str:
    """The docstring of its own that a class has, or none."""
    doc = vars(thing).get("__doc__") if isinstance(thing, type) else None
    return inspect.cleandoc(doc) if isinstance(doc, str) else ""
