"""What an annotation means: its validator, how a checked value becomes a Python object, and the msgspec type that does the same.

There are two ways from bytes to objects. The tree way (decode to a value, check it with the validator, `load` it) is the
truth. The fast way (one msgspec decode into `fast`, then `finish` and `guard`) must accept only what the tree accepts.
Fields of a struct that msgspec can't express stay raw JSON in that decode, and `finish` takes each of them the tree way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from msgspec import Meta

from reactor.limits import ARRAY_MAX_ELEMENTS, FIELD_NAME_MAX_BYTES, OBJECT_MAX_FIELDS
from reactor.schema.validators import (
    AnyValue,
    Array,
    Boolean,
    Bytes,
    Float64,
    IdOf,
    Int64Value,
    Null,
    Object,
    Record,
    Resolver,
    String,
    Validator,
)
from reactor.values import wire
from reactor.values.ids import table_number_of
from reactor.values.types import SAFE_INTEGER

__all__ = [
    "AnyShape",
    "BooleanShape",
    "BytesShape",
    "Finish",
    "FloatShape",
    "Guard",
    "IdShape",
    "Int64Shape",
    "IntShape",
    "ListShape",
    "MappingShape",
    "NullShape",
    "NumberShape",
    "RecordShape",
    "Shape",
    "StringShape",
    "TypeVarShape",
    "ValidatorShape",
]

Guard = Callable[[Any, "Resolver | None"], bool]
"""What the msgspec type can't say about a decoded object: True when it is good."""

Finish = Callable[[Any, "Resolver | None"], None]
"""Replaces the raw parts of a decoded object, in place. Raises InvalidValue."""


class Shape:
    """One annotation. `fast` is None where msgspec can't express it."""

    validator: Validator
    fast: Any = None
    guard: Guard | None = None
    finish: Finish | None = None
    lenient: bool = False
    """Whether `fast` ignores fields that the validator refuses, because a projection is inside."""

    def load(self, value: Any, resolve: Resolver | None) -> Any:
        """A value that fits the validator → the Python object."""
        return value

    def take(self, raw: Any, resolve: Resolver | None) -> Any:
        """JSON → the Python object, the tree way."""
        value = wire.decode(bytes(raw))
        self.validator.check(value, resolve)
        return self.load(value, resolve)


class ValidatorShape(Shape):
    """An explicit validator: plain values, as decoded."""

    def __init__(self, validator: Validator) -> None:
        self.validator = validator


class AnyShape(Shape):
    validator = AnyValue()


class TypeVarShape(Shape):
    """An open type parameter of a generic struct."""

    validator = AnyValue()

    def __init__(self, parameter: Any) -> None:
        self.fast = parameter


class NullShape(Shape):
    validator = Null()
    fast = type(None)


class BooleanShape(Shape):
    validator = Boolean()
    fast = bool


class StringShape(Shape):
    validator = String()
    fast = str


class BytesShape(Shape):
    validator = Bytes()


class Int64Shape(Shape):
    validator = Int64Value()


class NumberShape(Shape):
    """`int | float`: whole numbers are ints."""

    validator = Float64()


class FloatShape(Shape):
    validator = Float64()
    fast = float

    def load(self, value: Any, resolve: Resolver | None) -> float:
        return float(value)


class IntShape(Shape):
    validator = Float64(integral=True)
    fast = Annotated[int, Meta(ge=-SAFE_INTEGER, le=SAFE_INTEGER)]

    def load(self, value: Any, resolve: Resolver | None) -> int:
        return int(value)


class IdShape(Shape):
    fast = str

    def __init__(self, table: str) -> None:
        self.validator = IdOf(table)

        def guard(text: str, resolve: Resolver | None) -> bool:
            if resolve is None:
                return True
            number = table_number_of(text)
            return number is not None and resolve(number) == table

        self.guard = guard


def _finish_each(element: Shape, items_of: Callable[[Any], Any]) -> Finish | None:
    inner = element.finish
    if inner is None:
        return None

    def finish(container: Any, resolve: Resolver | None) -> None:
        for item in items_of(container):
            inner(item, resolve)

    return finish


class ListShape(Shape):
    def __init__(self, element: Shape) -> None:
        self.element = element
        self.lenient = element.lenient
        self.validator = Array(element.validator)
        if element.fast is not None:
            self.fast = Annotated[list[element.fast], Meta(max_length=ARRAY_MAX_ELEMENTS)]
        inner = element.guard
        if inner is not None:
            self.guard = lambda items, resolve: all(inner(item, resolve) for item in items)
        self.finish = _finish_each(element, iter)
        self.same = type(element).load is Shape.load

    def load(self, value: list[Any], resolve: Resolver | None) -> list[Any]:
        if self.same:
            return value
        load = self.element.load
        return [load(item, resolve) for item in value]


class RecordShape(Shape):
    """`dict[K, T]`."""

    def __init__(self, key: Shape, value: Shape) -> None:
        self.key, self.value = key, value
        self.lenient = value.lenient
        self.validator = Record(key.validator, value.validator)
        if value.fast is not None and key.fast is not None:
            self.fast = Annotated[dict[str, value.fast], Meta(max_length=OBJECT_MAX_FIELDS)]
        self.finish = _finish_each(value, dict.values)
        key_fits, value_fits = key.validator, value.guard

        def guard(record: dict[str, Any], resolve: Resolver | None) -> bool:
            for name, item in record.items():
                if not (
                    name.isascii() and name.isprintable() and name[:1] != "$" and len(name) <= FIELD_NAME_MAX_BYTES
                ):
                    return False
                if not key_fits.accepts(name, resolve):
                    return False
                if value_fits is not None and not value_fits(item, resolve):
                    return False
            return True

        self.guard = guard

    def load(self, value: dict[str, Any], resolve: Resolver | None) -> dict[str, Any]:
        load = self.value.load
        return {self.key.load(name, resolve): load(item, resolve) for name, item in value.items()}


class MappingShape(Shape):
    """A TypedDict: a plain dict with known keys, verbatim."""

    def __init__(self, fields: Mapping[str, tuple[Shape, bool]]) -> None:
        self.fields = fields
        self.validator = Object({name: (shape.validator, optional) for name, (shape, optional) in fields.items()})

    def load(self, value: dict[str, Any], resolve: Resolver | None) -> dict[str, Any]:
        return {name: self.fields[name][0].load(item, resolve) for name, item in value.items()}
