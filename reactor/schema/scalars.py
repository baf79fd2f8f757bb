"""The validator tree's base and its leaves, with the error texts that Convex's users know.

A node answers three things: does this value fit (`check`), what is your JSON (`json`), and how are you written (`render`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

from reactor.errors import InvalidValue, SchemaError
from reactor.schema.rendering import render_value
from reactor.values.ids import table_number_of
from reactor.values.types import Int64, Value, values_equal
from reactor.values.wire import to_json

__all__ = [
    "AnyValue",
    "Boolean",
    "Bytes",
    "Float64",
    "IdOf",
    "Int64Value",
    "LiteralValue",
    "Mismatch",
    "Null",
    "OptionalField",
    "Resolver",
    "String",
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

    def json(self, *, exact: bool = False) -> dict[str, Any]:
        """The validator as Convex's own JSON, as in `{"type":"id","tableName":"users"}`.

        With `exact` also what that can't say: `"integral": true` at numbers that must be whole.
        """
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
            f"Value does not match validator.{hint}",
            f"Value: {shown}\nValidator: {expected}",
            expected=expected,
            got=shown,
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

    def json(self, *, exact: bool = False) -> dict[str, Any]:
        return {"type": "number", "integral": True} if exact and self.integral else {"type": "number"}

    def render(self) -> str:
        return "v.float64()"


@dataclass(frozen=True, slots=True)
class Int64Value(Validator):
    kind: ClassVar[str] = "int64"

    def mismatch(self, value: Value, resolve: Resolver | None) -> Mismatch | None:
        return None if isinstance(value, Int64) else self._no_match(value)

    def json(self, *, exact: bool = False) -> dict[str, Any]:
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

    def json(self, *, exact: bool = False) -> dict[str, Any]:
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
            f"`{shown}` does not match literal validator `{self.render()}`.",
            expected=self.render(),
            got=shown,
            tight=True,
        )

    def json(self, *, exact: bool = False) -> dict[str, Any]:
        return {"type": "literal", "value": to_json(self.value)}

    def render(self) -> str:
        return f"v.literal({render_value(self.value)})"
