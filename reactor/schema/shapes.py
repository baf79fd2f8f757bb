"""What an annotation means: its validator, how a checked value becomes a Python object, and the msgspec type that does the same.

There are two ways from bytes to objects. The tree way (decode to a value, check it with the validator, `load` it) is the
truth. The fast way (one msgspec decode into `fast`, then `finish` and `guard`) must accept only what the tree accepts.
Fields of a struct that msgspec can't express stay raw JSON in that decode, and `finish` takes each of them the tree way.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from reactor.limits import ARRAY_MAX_ELEMENTS, FIELD_NAME_MAX_BYTES, OBJECT_MAX_FIELDS
from reactor.schema.structs import Field, Projection, Struct
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
    Resolver,
    String,
    Validator,
    union_of,
)
from reactor.values import wire
from reactor.values.ids import table_number_of
from reactor.values.types import SAFE_INTEGER, Value, values_equal

__all__ = [
    "AnyShape",
    "FieldShape",
    "Guard",
    "IdShape",
    "ListShape",
    "LiteralShape",
    "MappingShape",
    "RecordShape",
    "Shape",
    "StructShape",
    "UnionShape",
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


class LiteralShape(Shape):
    """`Literal[...]` and string enums. `choices` are the Python objects with their wire values."""

    def __init__(self, choices: Sequence[tuple[Any, str | bool | int | float]], fast: Any) -> None:
        self.choices = tuple(choices)
        self.validator = union_of(LiteralValue(wire) for _, wire in choices)
        self.fast = fast
        self.wires = tuple(wire for _, wire in choices)

    def load(self, value: Any, resolve: Resolver | None) -> Any:
        return next(choice for choice, wire in self.choices if values_equal(wire, value))


def literal_shape(choices: Sequence[Any]) -> LiteralShape:
    """`Literal[choices]`; msgspec takes the strings and the whole numbers among them."""
    pairs = [(choice, str(choice.value) if isinstance(choice, enum.Enum) else choice) for choice in choices]
    simple = all(type(choice) is str for choice in choices) or all(type(choice) is int for choice in choices)
    if {*choices} == {True, False} and all(type(choice) is bool for choice in choices):
        fast: Any = bool
    else:
        fast = Literal[tuple(choices)] if simple else None
    return LiteralShape(pairs, fast)


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


@dataclass(frozen=True, slots=True)
class FieldShape:
    """One field of a struct together with its type."""

    field: Field
    shape: Shape

    @property
    def optional(self) -> bool:
        return self.field.absent != "required"


class StructShape(Shape):
    """A struct class. `fast` is the class itself, once all its fields have a fast type and it has been sealed."""

    def __init__(
        self, cls: type[Struct], fields: Sequence[FieldShape], *, fast: Any, guard: Guard | None = None
    ) -> None:
        self.cls, self.fields, self.fast = cls, tuple(fields), fast
        self.validator = Object({f.field.wire: (f.shape.validator, f.optional) for f in fields})
        self.is_projection = issubclass(cls, Projection)
        self.lenient = self.is_projection or any(f.shape.lenient for f in fields)
        self.by_wire = {f.field.wire: f for f in fields}
        self.finish = _finish_fields(fields) if fast is not None else None
        self._loads = tuple((f.field.wire, f.field.name, f.shape.load) for f in fields)
        self.guard = guard

    def load(self, value: dict[str, Any], resolve: Resolver | None) -> Any:
        return self.cls(**{name: load(value[wire], resolve) for wire, name, load in self._loads if wire in value})


def _finish_each(element: Shape, items_of: Callable[[Any], Any]) -> Finish | None:
    inner = element.finish
    if inner is None:
        return None

    def finish(container: Any, resolve: Resolver | None) -> None:
        for item in items_of(container):
            inner(item, resolve)

    return finish


def _finish_fields(fields: Sequence[FieldShape]) -> Finish | None:
    raw = [(f.field.name, f.shape.take) for f in fields if f.shape.fast is None]
    nested = [(f.field.name, f.shape.finish) for f in fields if f.shape.fast is not None and f.shape.finish is not None]
    if not raw and not nested:
        return None

    def finish(obj: Any, resolve: Resolver | None) -> None:
        for name, take in raw:
            value = getattr(obj, name)
            if type(value) is msgspec.Raw:  # else it was absent, and has its default
                msgspec.structs.force_setattr(obj, name, take(value, resolve))
        for name, inner in nested:
            value = getattr(obj, name)
            if value is not None and value is not UNSET:
                inner(value, resolve)

    return finish


def fields_guard(
    fields: Sequence[FieldShape], *, present: str | None = None, absent: str | None = None
) -> Guard | None:
    """Checks the fields that have a guard of their own, and that one attribute is there, or is not."""
    guarded = [(f.field.name, f.shape.guard, f.field.absent) for f in fields if f.shape.guard and f.shape.fast]
    if not guarded and present is None and absent is None:
        return None

    def guard(obj: Any, resolve: Resolver | None) -> bool:
        if present is not None and getattr(obj, present) is UNSET:
            return False
        if absent is not None and getattr(obj, absent) is not UNSET:
            return False
        for name, inner, when_absent in guarded:
            value = getattr(obj, name)
            if (value is None and when_absent == "none") or value is UNSET:
                continue
            if not inner(value, resolve):
                return False
        return True

    return guard


_KINDS: Final = {"str": str, "float": float, "int": int, "bool": bool}


class UnionShape(Shape):
    """`X | Y`. Structs are told apart by a literal field that differs in all of them, else the first that fits is taken."""

    def __init__(self, members: Sequence[Shape]) -> None:
        self.members = tuple(members)
        self.lenient = any(member.lenient for member in members)
        self.validator = union_of(member.validator for member in members)
        self.discriminator = discriminator_of([m for m in members if isinstance(m, StructShape)])
        self._decide_fast()

    def _decide_fast(self) -> None:
        nullable = any(isinstance(member, NullShape) for member in self.members)
        others = [member for member in self.members if not isinstance(member, NullShape)]
        if len(others) != 1 or others[0].fast is None:
            return
        only = others[0]
        if isinstance(only, TypeVarShape):
            return
        self.fast = only.fast | None if nullable else only.fast
        inner = only.guard
        if inner is not None:
            self.guard = lambda obj, resolve: obj is None or inner(obj, resolve)
        finish = only.finish
        if finish is not None:
            self.finish = lambda obj, resolve: None if obj is None else finish(obj, resolve)

    def load(self, value: Value, resolve: Resolver | None) -> Any:
        return self.member_of(value, resolve).load(value, resolve)

    def member_of(self, value: Value, resolve: Resolver | None) -> Shape:
        """The member that a value, which fits the union, belongs to."""
        if self.discriminator is not None and isinstance(value, dict):
            name, choices = self.discriminator
            chosen = choices.get(_literal_key(value.get(name)))
            if chosen is not None and (len(choices) == len(self.members) or chosen.validator.accepts(value, resolve)):
                return chosen
        return next(member for member in self.members if member.validator.accepts(value, resolve))


def discriminator_of(members: Sequence[StructShape]) -> tuple[str, dict[Any, StructShape]] | None:
    """The wire name of a required literal field that tells all `members` apart, and who has which literal."""
    if len(members) < 2:
        return None
    for name, first in members[0].by_wire.items():
        if not isinstance(first.shape, LiteralShape):
            continue
        choices: dict[Any, StructShape] = {}
        count = 0
        for member in members:
            found = member.by_wire.get(name)
            if found is None or found.optional or not isinstance(found.shape, LiteralShape):
                break
            count += len(found.shape.wires)
            choices.update({_literal_key(wire): member for wire in found.shape.wires})
        else:
            if len(choices) == count:
                return name, choices
    return None


def _literal_key(value: Any) -> Any:
    """A dictionary key under which `True` and `1` differ and `1` and `1.0` do not."""
    if isinstance(value, (list, dict)):
        return None
    return (type(value) is bool, value)


def with_unset(fast: Any) -> Any:
    return fast | UnsetType
