"""The `v` namespace: validators built by hand, as ported code and dict tables want them.

`from reactor import v`, then `v.object({"name": v.string(), "age": v.optional(v.number())})`. The same tree comes out of annotations.
"""

from __future__ import annotations

from collections.abc import Mapping

from reactor.errors import SchemaError
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
    OptionalField,
    Record,
    String,
    Union,
    Validator,
    object_fields,
)

__all__ = [
    "any",
    "array",
    "bigint",
    "boolean",
    "bytes",
    "float64",
    "id",
    "int64",
    "literal",
    "null",
    "nullable",
    "number",
    "object",
    "optional",
    "record",
    "string",
    "union",
]


def id(table: str, /) -> IdOf:
    """An id of the table with this wire name, as in `v.id("projects")`."""
    if not isinstance(table, str):
        raise SchemaError("v.id(tableName) requires a string")
    return IdOf(table)


def null() -> Null:
    return Null()


def number() -> Float64:
    """Any float64. Whole ones are `int` in Python."""
    return Float64()


def float64() -> Float64:
    """The same as `number`."""
    return Float64()


def int64() -> Int64Value:
    """A 64-bit integer, `Int64` in Python and `bigint` in JavaScript. Never interchangeable with a number."""
    return Int64Value()


def bigint() -> Int64Value:
    """The older name of `int64`."""
    return Int64Value()


def boolean() -> Boolean:
    return Boolean()


def string() -> String:
    return String()


def bytes() -> Bytes:
    return Bytes()


def any() -> AnyValue:
    return AnyValue()


def literal(value: str | bool | int | float, /) -> LiteralValue:
    """Exactly this value. An `Int64` stands for itself, an `int` for a number."""
    return LiteralValue(value)


def array(element: Validator, /) -> Array:
    return Array(_validator(element, "v.array(element)"))


def object(fields: Mapping[str, Validator | OptionalField], /) -> Object:
    """An object with exactly these fields, keyed by wire name."""
    return Object(object_fields(fields))


def record(keys: Validator, values: Validator, /) -> Record:
    """An object with free keys. Keys are strings, ids, or unions of them."""
    if isinstance(keys, OptionalField):
        raise SchemaError("Record validator cannot have optional keys", code="InvalidRecordType")
    if isinstance(values, OptionalField):
        raise SchemaError("Record validator cannot have optional values", code="InvalidRecordType")
    return Record(_validator(keys, "v.record(keys, values)"), _validator(values, "v.record(keys, values)"))


def union(*members: Validator) -> Union:
    """At least one member fits; a union of nothing fits nothing."""
    for member in members:
        if not isinstance(member, Validator):
            raise SchemaError(f"All members of v.union() must be validators, not {member!r}")
    return Union(members)


def optional(validator: Validator | OptionalField, /) -> OptionalField:
    """A field of an object that may be absent. It does not let null in: that is `nullable`."""
    if isinstance(validator, OptionalField):
        return validator
    return OptionalField(_validator(validator, "v.optional(validator)"))


def nullable(validator: Validator, /) -> Union:
    """The validator's values, or null."""
    return Union((_validator(validator, "v.nullable(validator)"), Null()))


def _validator(value: Validator, what: str) -> Validator:
    if not isinstance(value, Validator):
        raise SchemaError(f"{what} needs a validator, not {value!r}")
    return value
