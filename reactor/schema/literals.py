"""Literals and string enums: which annotations of this kind have a meaning, and their shapes."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, Literal

from reactor.errors import SchemaError
from reactor.schema.shapes import Shape
from reactor.schema.validators import LiteralValue, Resolver, union_of
from reactor.values.types import Int64, values_equal

__all__ = ["LiteralShape", "check_choices", "enum_shape", "literal_shape"]


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


def check_choices(choices: Sequence[Any], where: str) -> None:
    """Raise SchemaError unless all of these can be literals."""
    for choice in choices:
        if isinstance(choice, enum.Enum):
            if not isinstance(choice, str):
                raise SchemaError(f"{where}: {choice!r} in a Literal: only strings, numbers and booleans can be.")
        elif type(choice) not in (str, bool, int, float, Int64):
            raise SchemaError(f"{where}: Literal[{choice!r}]: only strings, numbers and booleans can be literals.")


def enum_shape(cls: type[enum.Enum], where: str) -> LiteralShape:
    """An enum of strings. Raises SchemaError for another."""
    if not issubclass(cls, str):
        raise SchemaError(f"{where}: {cls.__name__} is not an enum of strings; write `class {cls.__name__}(StrEnum)`.")
    if not len(cls):
        raise SchemaError(f"{where}: {cls.__name__} has no members.")
    return LiteralShape([(member, str(member.value)) for member in cls], cls)
