"""A validator as a TypeScript type, as Convex's own client types have it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from reactor.schema.validators import (
    Array,
    IdOf,
    LiteralValue,
    Object,
    Record,
    Union,
    Validator,
)
from reactor.values.types import Int64

__all__ = ["TypeWriter", "comment", "property_name", "string_literal"]

_PLAIN: Final[Mapping[str, str]] = {
    "any": "any",
    "null": "null",
    "float64": "number",
    "int64": "bigint",
    "boolean": "boolean",
    "string": "string",
    "bytes": "ArrayBuffer",
}
_IDENTIFIER: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*", re.ASCII)


def string_literal(text: str) -> str:
    return msgspec.json.encode(text).decode()


def property_name(name: str) -> str:
    """A key of an object type: bare where that is allowed."""
    return name if _IDENTIFIER.fullmatch(name) else string_literal(name)


def comment(text: str | None, indent: str) -> str:
    """A docstring as a JSDoc comment with its line break, or nothing."""
    lines = [line.rstrip() for line in (text or "").strip().replace("*/", "*\\/").splitlines()]
    if not lines:
        return ""
    if len(lines) == 1:
        return f"{indent}/** {lines[0]} */\n"
    body = "".join(f"{indent} * {line}\n" if line else f"{indent} *\n" for line in _dedented(lines))
    return f"{indent}/**\n{body}{indent} */\n"


def _dedented(lines: list[str]) -> list[str]:
    """The lines of a docstring, whose first one stands apart."""
    rest = [len(line) - len(line.lstrip()) for line in lines[1:] if line.strip()]
    margin = min(rest, default=0)
    return [lines[0], *[line[margin:] for line in lines[1:]]]


class TypeWriter:
    """Writes types; documents of known tables are written as `Doc<"table">`, their ids as `Id<"table">`."""

    def __init__(self, documents: Mapping[str, Validator], known_tables: frozenset[str]) -> None:
        """`documents`: table → what its documents are; `known_tables` have an `Id` type."""
        self._tables = {validator: name for name, validator in documents.items()}
        self._unions = [(name, v) for name, v in documents.items() if isinstance(v, Union)]
        self._known = known_tables

    def write(self, validator: Validator, indent: str = "") -> str:
        """The type; objects go over several lines, indented by `indent`."""
        table = self._tables.get(validator)
        if table is not None:
            return f"Doc<{string_literal(table)}>"
        return self.spelled_out(validator, indent)

    def spelled_out(self, validator: Validator, indent: str = "") -> str:
        """Like `write`, but a document's own type is written out."""
        match validator:
            case IdOf():
                return self._id(validator.table)
            case LiteralValue():
                return _literal(validator)
            case Array():
                return f"Array<{self.write(validator.element, indent)}>"
            case Record():
                return f"Record<{self.write(validator.keys, indent)}, {self.write(validator.values, indent)}>"
            case Union():
                return self._union(validator, indent)
            case Object():
                return self._object(validator, indent)
        return _PLAIN[validator.kind]

    def _id(self, table: str) -> str:
        name = string_literal(table)
        return f"Id<{name}>" if table in self._known else f"GenericId<{name}>"

    def _union(self, union: Union, indent: str) -> str:
        members = list(union.members)
        written: list[str] = []
        for name, whole in self._unions:
            if whole != union and all(member in members for member in whole.members):
                written.append(f"Doc<{string_literal(name)}>")
                members = [member for member in members if member not in whole.members]
        written += [self.write(member, indent) for member in members]
        return " | ".join(dict.fromkeys(written)) or "never"

    def _object(self, validator: Object, indent: str) -> str:
        if not validator.fields:
            return "Record<string, never>"
        inner = indent + "  "
        fields = "".join(
            f"{inner}{property_name(name)}{'?' if optional else ''}: {self.write(field, inner)};\n"
            for name, (field, optional) in validator.fields.items()
        )
        return f"{{\n{fields}{indent}}}"


def _literal(validator: LiteralValue) -> str:
    value = validator.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Int64):
        return f"{int(value)}n"
    if isinstance(value, str):
        return string_literal(value)
    return repr(value)
