"""The shapes of struct classes and of unions, which tell structs apart by their literal fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from reactor.schema.literals import LiteralShape
from reactor.schema.shapes import Finish, Guard, NullShape, Shape, TypeVarShape
from reactor.schema.structs import Field, Projection, Struct
from reactor.schema.validators import Object, Resolver, union_of
from reactor.values.types import Value

__all__ = ["FieldShape", "StructShape", "UnionShape", "discriminator_of", "fields_guard", "with_unset"]


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
        self.own_guard = guard
        """What is left to check of a document whose system fields are known to be right."""

    def load(self, value: dict[str, Any], resolve: Resolver | None) -> Any:
        return self.cls(**{name: load(value[wire], resolve) for wire, name, load in self._loads if wire in value})


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
