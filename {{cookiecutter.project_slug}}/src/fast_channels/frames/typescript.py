"""TypeScript declarations of a consumer's frames, for the editors and checkers of browser code.

Own code: the Python packages for it run a Node program, json-schema-to-typescript, which a project without
Node does not have; of JSON schema they would need no more than Pydantic makes, which is this.

Invariant: what comes out depends on the models alone, so that a copy in the repository can be compared.
"""

import json
import re
from collections.abc import Iterable
from typing import Any

from .consumer import FrameConsumer
from .declaration import Declaration, types_of
from .schemas import Schema, Schemas, name_of, text_of

HEAD = (
    "// Made of the models by `python -m fast_channels types`: change those, and make it again.\n"
)
WORD = re.compile(r"[A-Za-z_$][\w$]*")
SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}


def typescript(*consumers: type[FrameConsumer]) -> str:
    """A ``.d.ts`` file: an interface for each consumer and each model.

    That of a consumer is named as its class, and has three members: ``sends``, the union of what the
    browser sends; ``receives``, of what it receives; ``replies``, by the type of a frame what answers it.
    """
    declarations = [consumer.declaration for consumer in consumers]
    schemas = Schemas(declarations)
    models = [interface(name, schema) for name, schema in sorted(schemas.definitions.items())]
    sockets = [socket(*pair, schemas) for pair in zip(consumers, declarations, strict=True)]
    return "\n".join([HEAD, *sockets, *models])


def socket(consumer: type[FrameConsumer], declaration: Declaration, schemas: Schemas) -> str:
    sends = [word(schemas.incoming(model)) for model in declaration.incoming]
    receives = [word(schemas.outgoing(model)) for model in declaration.outgoing]
    replies = {
        one: [word(schemas.outgoing(reply)) for reply in replies]
        for model, replies in declaration.replies.items()
        for one in types_of(model)
    }
    lines = [
        *comment(text_of(consumer)),
        f"export interface {word(consumer.__name__)} {{",
        f"  sends: {union(sends)};",
        f"  receives: {union(receives)};",
        "  replies: {",
        *(f"    {key(one)}: {union(names)};" for one, names in replies.items()),
        "  };",
        "}",
    ]
    return "\n".join(lines) + "\n"


def interface(name: str, schema: Schema) -> str:
    """One definition: an object as an interface, anything else, such as an enum, as a type."""
    head = comment(schema.get("description", ""))
    if "properties" not in schema:
        return "\n".join([*head, f"export type {word(name)} = {type_of(schema)};"]) + "\n"
    required = schema.get("required", [])
    lines = [*head, f"export interface {word(name)} {{"]
    for field, part in schema["properties"].items():
        lines += [f"  {line}" for line in comment(part.get("description", ""))]
        mark = "" if field in required else "?"
        lines.append(f"  {key(field)}{mark}: {type_of(part)};")
    if schema.get("additionalProperties"):
        lines.append("  [name: string]: unknown;")
    return "\n".join([*lines, "}"]) + "\n"


def type_of(schema: Any) -> str:
    """The TypeScript type of a JSON schema, in one line."""
    if not isinstance(schema, dict):  # True: anything goes
        return "unknown"
    if "$ref" in schema:
        return word(name_of(schema))
    for choice in ("const", "enum"):
        if choice in schema:
            values = schema[choice] if choice == "enum" else [schema[choice]]
            return union(map(json.dumps, values))
    for parts in ("anyOf", "oneOf", "allOf"):
        if parts in schema:
            types = map(type_of, schema[parts])
            return union(types) if parts != "allOf" else " & ".join(types)
    return of_kind(schema)


def of_kind(schema: Schema) -> str:
    kind = schema.get("type")
    if kind == "array":
        parts = schema.get("items", True)
        if isinstance(parts, list):  # a tuple
            return f"[{', '.join(map(type_of, parts))}]"
        return f"Array<{type_of(parts)}>"
    if kind == "object":
        return f"{{ [name: string]: {type_of(schema.get('additionalProperties', True))} }}"
    return "null" if kind == "null" else SIMPLE.get(str(kind), "unknown")


def union(types: Iterable[str]) -> str:
    return " | ".join(dict.fromkeys(types)) or "never"


def key(name: str) -> str:
    return name if WORD.fullmatch(name) else json.dumps(name)


def word(name: str) -> str:
    """A name that TypeScript takes: Pydantic's may have a hyphen."""
    return re.sub(r"\W", "_", name)


def comment(text: str) -> list[str]:
    lines = text.replace("*/", "* /").splitlines()
    if len(lines) < 2:
        return [f"/** {line} */" for line in lines]
    return ["/**", *(f" * {line}".rstrip() for line in lines), " */"]
