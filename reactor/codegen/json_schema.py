"""A validator as JSON Schema (2020-12, what OpenAPI 3.1 uses), and an example value that it takes.

What is sent and what comes back differ: an Int64 goes in as `{"$integer": base64}` and comes back, in the `json` format, as
a string of digits; bytes go in as `{"$bytes": base64}` and come back as base64.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reactor.schema.validators import (
    AnyValue,
    Array,
    Boolean,
    Bytes,
    Float64,
    IdOf,
    Int64Value,
    LiteralValue,
    Null,
    Object,
    Record,
    String,
    Union,
    Validator,
)
from reactor.values import wire
from reactor.values.types import Int64

__all__ = ["REFERENCE", "SchemaWriter"]

REFERENCE: Final = "#/components/schemas/"

_BASE64_INT64 = {"type": "string", "contentEncoding": "base64", "minLength": 12, "maxLength": 12}


class SchemaWriter:
    """Writes the schemas of one direction: `sent` to the deployment, or else what it answers."""

    def __init__(self, documents: Mapping[str, Validator], *, sent: bool) -> None:
        """`documents`: table → what its documents are; in answers they are references to `#/components/schemas/`."""
        self._sent = sent
        self._tables = {} if sent else {validator: name for name, validator in documents.items()}

    def schema(self, validator: Validator) -> dict[str, Any]:
        """The schema; documents of tables by reference."""
        table = self._tables.get(validator)
        return {"$ref": REFERENCE + table} if table is not None else self.spelled_out(validator)

    def spelled_out(self, validator: Validator) -> dict[str, Any]:
        """Like `schema`, but a document's own schema is written out."""
        match validator:
            case AnyValue():
                return {}
            case Null():
                return {"type": "null"}
            case Boolean():
                return {"type": "boolean"}
            case String():
                return {"type": "string"}
            case Float64():
                return {"type": "integer" if validator.integral else "number"}
            case IdOf():
                return {"type": "string", "description": f"Id of a document in {validator.table!r}"}
            case Int64Value():
                return _tagged("$integer", _BASE64_INT64) if self._sent else {"type": "string", "pattern": "^-?[0-9]+$"}
            case Bytes():
                encoded = {"type": "string", "contentEncoding": "base64"}
                return _tagged("$bytes", encoded) if self._sent else encoded
            case LiteralValue():
                return {"const": self._json(validator.value)}
            case Array():
                return {"type": "array", "items": self.schema(validator.element)}
            case Record():
                return {
                    "type": "object",
                    "propertyNames": self.schema(validator.keys),
                    "additionalProperties": self.schema(validator.values),
                }
            case Union():
                return self._union(validator)
            case Object():
                return self._object(validator)
        raise AssertionError(f"a new kind of validator: {validator!r}")

    def _union(self, union: Union) -> dict[str, Any]:
        literals = [member for member in union.members if isinstance(member, LiteralValue)]
        rest = [self.schema(member) for member in union.members if not isinstance(member, LiteralValue)]
        if literals:
            enum = {"enum": [self._json(literal.value) for literal in literals]}
            rest.insert(0, enum)
        if not rest:
            return {"not": {}}
        return rest[0] if len(rest) == 1 else {"anyOf": rest}

    def _object(self, validator: Object) -> dict[str, Any]:
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: self.schema(field) for name, (field, _) in validator.fields.items()},
            "additionalProperties": False,
        }
        required = [name for name, (_, optional) in validator.fields.items() if not optional]
        if required:
            schema["required"] = required
        return schema

    def _json(self, value: Any) -> Any:
        if isinstance(value, Int64):
            return wire.to_json(value) if self._sent else str(int(value))
        return value

    def example(self, validator: Validator) -> Any:
        """A value that the schema takes; optional fields are left out."""
        match validator:
            case AnyValue() | String():
                return "text"
            case Null():
                return None
            case Boolean():
                return True
            case Float64():
                return 1
            case IdOf():
                return f"id of {validator.table}"
            case Int64Value():
                return wire.to_json(Int64(1)) if self._sent else "1"
            case Bytes():
                return wire.to_json(b"bytes") if self._sent else "Ynl0ZXM="
            case LiteralValue():
                return self._json(validator.value)
            case Array():
                return [self.example(validator.element)]
            case Record():
                return {str(self.example(validator.keys)): self.example(validator.values)}
            case Union():
                members = [member for member in validator.members if not isinstance(member, Null)]
                return self.example(members[0]) if members else None
            case Object():
                fields = validator.fields.items()
                return {name: self.example(field) for name, (field, optional) in fields if not optional}
        raise AssertionError(f"a new kind of validator: {validator!r}")


def _tagged(tag: str, inner: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {tag: dict(inner)}, "required": [tag], "additionalProperties": False}
