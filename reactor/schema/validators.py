"""The validator tree: what a value may be. Here are its containers; the base and the leaves come from `scalars`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from reactor.errors import SchemaError
from reactor.schema.naming import identifier_problem
from reactor.schema.rendering import render_value
from reactor.schema.scalars import (
    AnyValue,
    Boolean,
    Bytes,
    Float64,
    IdOf,
    Int64Value,
    LiteralValue,
    Mismatch,
    Null,
    OptionalField,
    Resolver,
    String,
    Validator,
)
from reactor.values.types import Value

__all__ = [
    "AnyValue",
    "Array",
    "Boolean",
    "Bytes",
    "Float64",
    "IdOf",
    "Int64Value",
    "LiteralValue",
    "Mismatch",
    "Null",
    "Object",
    "OptionalField",
    "Record",
    "Resolver",
    "String",
    "Union",
    "Validator",
    "object_fields",
    "union_of",
]


@dataclass(frozen=True, slots=True)
class Array(Validator):
    element: Validator
    kind: ClassVar[str] = "array"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        if not isinstance(value, list):
            return self._no_match(value)
        inner = self.element.mismatch
        for position, item in enumerate(value):
            found = inner(item, resolve)
            if found is not None:
                found.path = f"[{position}]{found.path}"
                return found
        return None

    def json(self, *, exact: bool = False) -> dict[str, Any]:
        return {"type": "array", "value": self.element.json(exact=exact)}

    def render(self) -> str:
        return f"v.array({self.element.render()})"


@dataclass(frozen=True, slots=True)
class Record(Validator):
    """An object with any keys that fit `keys`, as string values, and values that fit `values`."""

    keys: Validator
    values: Validator
    kind: ClassVar[str] = "record"

    def __post_init__(self) -> None:
        if not _is_string_like(self.keys):
            raise SchemaError(f"Records can only have string keys, not {self.keys.render()}", code="InvalidRecordType")

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        if not isinstance(value, dict):
            return self._no_match(value)
        for key, item in value.items():
            found = self.keys.mismatch(key, resolve)
            if found is not None:
                found.path = f".keys(){found.path}"
                return found
            found = self.values.mismatch(item, resolve)
            if found is not None:
                found.path = f".values(){found.path}"
                return found
        return None

    def json(self, *, exact: bool = False) -> dict[str, Any]:
        return {
            "type": "record",
            "keys": self.keys.json(exact=exact),
            "values": {"fieldType": self.values.json(exact=exact), "optional": False},
        }

    def render(self) -> str:
        return f"v.record({self.keys.render()}, {self.values.render()})"

    def can_contain(self, path: tuple[str, ...]) -> bool:
        return not path or (self.keys.accepts(path[0]) and self.values.can_contain(path[1:]))


@dataclass(frozen=True, slots=True, eq=False)
class Union(Validator):
    """At least one member fits. The order of members counts for reading, not for equality."""

    members: tuple[Validator, ...]
    kind: ClassVar[str] = "union"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Union) and set(self.members) == set(other.members)

    def __hash__(self) -> int:
        return hash(frozenset(self.members))

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        found = None
        for member in self.members:
            found = member.mismatch(value, resolve)
            if found is None:
                return None
        return found if len(self.members) == 1 else self._no_match(value)

    def json(self, *, exact: bool = False) -> dict[str, Any]:
        return {"type": "union", "value": [member.json(exact=exact) for member in self.members]}

    def render(self) -> str:
        return f"v.union({', '.join(member.render() for member in self.members)})"

    def can_contain(self, path: tuple[str, ...]) -> bool:
        return any(member.can_contain(path) for member in self.members)


def _is_string_like(validator: Validator) -> bool:
    if isinstance(validator, Union):
        return all(_is_string_like(member) for member in validator.members)
    if isinstance(validator, LiteralValue):
        return isinstance(validator.value, str)
    return isinstance(validator, (String, IdOf))


@dataclass(frozen=True, slots=True)
class Object(Validator):
    """Exactly these fields: wire name → (validator, may it be absent). Nothing else is let in."""

    fields: Mapping[str, tuple[Validator, bool]]
    kind: ClassVar[str] = "object"
    _sorted: tuple[tuple[str, Validator, bool], ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self) -> None:
        for name in self.fields:
            problem = identifier_problem(name)
            if problem is not None:
                raise SchemaError(f"An object can't have the field {name!r}: {problem}. Use a record for free keys.")
        ordered = tuple((name, *self.fields[name]) for name in sorted(self.fields))
        object.__setattr__(self, "_sorted", ordered)

    def __hash__(self) -> int:
        return hash(self._sorted)

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        if not isinstance(value, dict):
            return self._no_match(value)
        matched = 0
        for name, validator, optional in self._sorted:
            if name in value:
                matched += 1
                found = validator.mismatch(value[name], resolve)
                if found is not None:
                    found.path = f".{name}{found.path}"
                    return found
            elif not optional:
                return self._object_mismatch(
                    f"Object is missing the required field `{name}`. Consider wrapping the field validator in "
                    "`v.optional(...)` if this is expected.",
                    value,
                    expected=validator.render(),
                )
        if matched != len(value):
            extra = min(name for name in value if name not in self.fields)
            return self._object_mismatch(f"Object contains extra field `{extra}` that is not in the validator.", value)
        return None

    def _object_mismatch(self, head: str, value: Value, expected: str = "") -> Mismatch:
        shown, rendered = render_value(value), self.render()
        return Mismatch(
            head,
            f"Object: {shown}\nValidator: {rendered}",
            expected=expected or rendered,
            got="nothing" if expected else shown,
        )

    def json(self, *, exact: bool = False) -> dict[str, Any]:
        return {
            "type": "object",
            "value": {
                name: {"fieldType": validator.json(exact=exact), "optional": optional}
                for name, validator, optional in self._sorted
            },
        }

    def render(self) -> str:
        inner = ", ".join(
            f"{name}: v.optional({validator.render()})" if optional else f"{name}: {validator.render()}"
            for name, validator, optional in self._sorted
        )
        return f"v.object({{{inner}}})"

    def can_contain(self, path: tuple[str, ...]) -> bool:
        if not path:
            return True
        entry = self.fields.get(path[0])
        return entry is not None and entry[0].can_contain(path[1:])

    # The four helpers of Convex's object validators. Each gives a new validator and leaves this one as it is.

    def pick(self, *names: str) -> Object:
        """Only these fields. An unknown one is an error."""
        for name in names:
            if name not in self.fields:
                raise SchemaError(f"pick: the object has no field {name!r}; it has {', '.join(self.fields)}")
        return Object({name: self.fields[name] for name in names})

    def omit(self, *names: str) -> Object:
        """All but these fields; unknown ones are ignored."""
        return Object({name: entry for name, entry in self.fields.items() if name not in names})

    def partial(self) -> Object:
        """Every field optional, not deeply."""
        return Object({name: (validator, True) for name, (validator, _) in self.fields.items()})

    def extend(self, fields: Mapping[str, Validator | OptionalField]) -> Object:
        """These fields beside mine; on a clash the new one stays."""
        return Object({**self.fields, **object_fields(fields)})


def object_fields(fields: Mapping[str, Validator | OptionalField]) -> dict[str, tuple[Validator, bool]]:
    """What `v.object({...})` takes, as `Object` keeps it; raises SchemaError on entries that are no validators."""
    kept: dict[str, tuple[Validator, bool]] = {}
    for name, entry in fields.items():
        if isinstance(entry, OptionalField):
            kept[name] = (entry.validator, True)
        elif isinstance(entry, Validator):
            kept[name] = (entry, False)
        else:
            hint = ""
            if isinstance(entry, type):
                hint = f" (write a validator such as v.string(), not the type {entry.__name__})"
            raise SchemaError(f"v.object() entries must be validators: {name!r} is {entry!r}{hint}")
    return kept


def union_of(members: Iterable[Validator]) -> Validator:
    """The members' union, flat and without repetitions; a single member stands for itself."""
    flat: list[Validator] = []
    for member in members:
        for one in member.members if isinstance(member, Union) else (member,):
            if one not in flat:
                flat.append(one)
    return flat[0] if len(flat) == 1 else Union(tuple(flat))
