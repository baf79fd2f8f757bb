"""The validator tree: what a value may be, with the error texts that Convex's users know.

A node answers three things: does this value fit (`check`), what is your JSON (`json`), and how are you written (`render`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias

from reactor.errors import InvalidValue, SchemaError
from reactor.schema.naming import identifier_problem
from reactor.schema.rendering import render_value
from reactor.values.ids import table_number_of
from reactor.values.types import Int64, Value, values_equal
from reactor.values.wire import to_json

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
]

Resolver: TypeAlias = Callable[[int], "str | None"]
"""Table number → name of the table that has it now. Where a resolver may be None, ids are taken on trust."""

MAX_SAFE_INTEGER: Final = 2**53


class Mismatch:
    """What did not fit, and where. Containers extend `path` at its front on the way out."""

    __slots__ = ("expected", "got", "head", "path", "tail", "tight")

    def __init__(self, head: str, tail: str = "", *, expected: str = "", got: str = "", tight: bool = False) -> None:
        self.head, self.tail, self.expected, self.got = head, tail, expected, got
        self.tight = tight  # the path follows the text directly, without a line of its own
        self.path = ""

    def text(self, path: str) -> str:
        context = f"Path: {path}" if path else ""
        if self.tight:
            return self.head + context
        return f"{self.head}\n{context}\n{self.tail}"


class Validator:
    """One node of the tree. Nodes are immutable and compare by value."""

    kind: ClassVar[str]

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        """None when `value` fits."""
        raise NotImplementedError

    def check(
        self, value: Value, resolve: Resolver | None, path: str = "", *, error: type[InvalidValue] = InvalidValue
    ) -> None:
        """Raise `error` with text, path, expected and got unless `value` fits. `path` is where `value` stands."""
        found = self.mismatch(value, resolve)
        if found is not None:
            where = path + found.path
            raise error(found.text(where), path=where, expected=found.expected, got=found.got)

    def accepts(self, value: Value, resolve: Resolver | None = None) -> bool:
        return self.mismatch(value, resolve) is None

    def json(self) -> dict[str, Any]:
        """The validator as Convex's own JSON, as in `{"type":"id","tableName":"users"}`."""
        return {"type": self.kind}

    def render(self) -> str:
        """The validator as one would write it, as in `v.id("users")`."""
        raise NotImplementedError

    def optional(self) -> OptionalField:
        """This validator, as a field that may be absent."""
        return OptionalField(self)

    @property
    def is_optional(self) -> bool:
        return False

    def can_contain(self, path: tuple[str, ...]) -> bool:
        """Whether some value that fits could have a field at this path."""
        return not path

    def _no_match(self, value: Value, hint: str = "") -> Mismatch:
        shown, expected = render_value(value), self.render()
        return Mismatch(
            f"Value does not match validator.{hint}", f"Value: {shown}\nValidator: {expected}", expected=expected, got=shown
        )


@dataclass(frozen=True, slots=True)
class OptionalField:
    """`v.optional(e)`: a field of an object that may be absent. Null is not absence."""

    validator: Validator

    @property
    def is_optional(self) -> bool:
        return True

    def optional(self) -> OptionalField:
        return self

    def render(self) -> str:
        return f"v.optional({self.validator.render()})"


@dataclass(frozen=True, slots=True)
class AnyValue(Validator):
    kind: ClassVar[str] = "any"

    def mismatch(self, value: Value, resolve: Resolver | None) -> None:
        return None

    def render(self) -> str:
        return "v.any()"

    def can_contain(self, path: tuple[str, ...]) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Null(Validator):
    kind: ClassVar[str] = "null"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        return None if value is None else self._no_match(value)

    def render(self) -> str:
        return "v.null()"


@dataclass(frozen=True, slots=True)
class Boolean(Validator):
    kind: ClassVar[str] = "boolean"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        return None if value is True or value is False else self._no_match(value)

    def render(self) -> str:
        return "v.boolean()"


@dataclass(frozen=True, slots=True)
class Float64(Validator):
    """A number. `integral` is ours: whole and within ±2^53, what `int` means in an annotation."""

    integral: bool = False
    kind: ClassVar[str] = "float64"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        if type(value) is int:
            if not self.integral or -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
                return None
            return self._no_match(value, " Whole numbers beyond ±2^53 need `Int64`.")
        if type(value) is not float:
            return self._no_match(value)
        if not self.integral:
            return None
        if not value.is_integer():
            return self._no_match(value, " A whole number is needed here (`int`).")
        if abs(value) > MAX_SAFE_INTEGER:
            return self._no_match(value, " Whole numbers beyond ±2^53 need `Int64`.")
        return None

    def json(self) -> dict[str, Any]:
        return {"type": "number"}

    def render(self) -> str:
        return "v.float64()"


@dataclass(frozen=True, slots=True)
class Int64Value(Validator):
    kind: ClassVar[str] = "int64"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        return None if isinstance(value, Int64) else self._no_match(value)

    def json(self) -> dict[str, Any]:
        return {"type": "bigint"}

    def render(self) -> str:
        return "v.int64()"


@dataclass(frozen=True, slots=True)
class String(Validator):
    kind: ClassVar[str] = "string"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        return None if isinstance(value, str) else self._no_match(value)

    def render(self) -> str:
        return "v.string()"


@dataclass(frozen=True, slots=True)
class Bytes(Validator):
    kind: ClassVar[str] = "bytes"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        return None if isinstance(value, bytes) else self._no_match(value)

    def render(self) -> str:
        return "v.bytes()"


@dataclass(frozen=True, slots=True)
class IdOf(Validator):
    """A string that is an id of the table, whether or not the document exists."""

    table: str
    kind: ClassVar[str] = "id"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        if not isinstance(value, str):
            return self._no_match(value)
        if resolve is None:
            return None
        number = table_number_of(value)
        table = None if number is None else resolve(number)
        if table == self.table:
            return None
        if table is None:
            return self._no_match(value)
        origin = "a system table" if table.startswith("_") else f"table `{table}`"
        return Mismatch(
            f'Found ID "{value}" from {origin}, which does not match the table name in validator `{self.render()}`.',
            expected=self.render(),
            got=render_value(value),
            tight=True,
        )

    def json(self) -> dict[str, Any]:
        return {"type": "id", "tableName": self.table}

    def render(self) -> str:
        return f'v.id("{self.table}")'


@dataclass(frozen=True, slots=True, eq=False)
class LiteralValue(Validator):
    """Exactly this string, boolean, number or Int64."""

    value: str | bool | int | float
    kind: ClassVar[str] = "literal"

    def __post_init__(self) -> None:
        if not isinstance(self.value, (str, bool, int, float)):
            raise SchemaError("v.literal(value) must be a string, number, or boolean")
        if isinstance(self.value, float) and not math.isfinite(self.value):
            raise SchemaError(f"{self.value} can't be a literal", code="UnsupportedFloatLiteral")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LiteralValue) and values_equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash((type(self.value) is bool, self.value))

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        if values_equal(value, self.value):
            return None
        shown = render_value(value)
        return Mismatch(
            f"`{shown}` does not match literal validator `{self.render()}`.", expected=self.render(), got=shown, tight=True
        )

    def json(self) -> dict[str, Any]:
        return {"type": "literal", "value": to_json(self.value)}

    def render(self) -> str:
        return f"v.literal({render_value(self.value)})"


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

    def json(self) -> dict[str, Any]:
        return {"type": "array", "value": self.element.json()}

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
            raise SchemaError(
                f"Records can only have string keys, not {self.keys.render()}", code="InvalidRecordType"
            )

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

    def json(self) -> dict[str, Any]:
        return {
            "type": "record",
            "keys": self.keys.json(),
            "values": {"fieldType": self.values.json(), "optional": False},
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

    def json(self) -> dict[str, Any]:
        return {"type": "union", "value": [member.json() for member in self.members]}

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
            head, f"Object: {shown}\nValidator: {rendered}", expected=expected or rendered, got="nothing" if expected else shown
        )

    def json(self) -> dict[str, Any]:
        return {
            "type": "object",
            "value": {
                name: {"fieldType": validator.json(), "optional": optional} for name, validator, optional in self._sorted
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
