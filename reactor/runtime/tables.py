"""What `ctx.db` needs to know about a table and its indexes, worked out once per loaded app."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from reactor.engine.ranges import IndexRange, after_prefix
from reactor.errors import DatabaseError
from reactor.schema.dumping import dump
from reactor.schema.naming import camel, did_you_mean
from reactor.schema.system import SYSTEM_TABLES
from reactor.schema.validators import AnyValue, Float64, Int64Value, Object, Union, Validator
from reactor.values.keys import encode_key, encode_value
from reactor.values.types import UNSET, Int64
from reactor.values.wire import decode

if TYPE_CHECKING:
    from reactor.runtime.app import App
    from reactor.schema.tables import TableDefinition
    from reactor.store.catalogue import IndexInfo

__all__ = ["IndexPlan", "TableBinding", "bind_table", "binding_of_name"]

_SYSTEM_CLASSES: Final = {name: cls for cls, name in SYSTEM_TABLES.items()}
_PLAIN: Final = frozenset({str, int, float, bool, bytes})
_SYSTEM_NAMES: Final = {"id": "_id", "_id": "_id", "creation_time": "_creationTime", "_creationTime": "_creationTime"}


class TableBinding:
    """One table as an app sees it. `definition` is None for a table that the schema does not declare."""

    __slots__ = ("_changed", "_names", "_optional_none", "_plans", "definition", "fields", "name", "read")

    def __init__(
        self,
        name: str,
        definition: TableDefinition | None,
        read: Callable[[bytes], Any] | None = None,
        fields: frozenset[str] | None = None,
    ) -> None:
        self.name = name
        self.definition = definition
        self.read: Callable[[bytes], Any] = read or (decode if definition is None else definition.codec.read)
        """A stored body → what user code gets."""
        self.fields = fields
        """Of a projection: the wire names of what it looks at."""
        self._names: dict[str, str] = dict(_SYSTEM_NAMES)
        self._changed: dict[str, str] = {}
        self._optional_none: dict[str, bool] = {}
        self._plans: dict[str, IndexPlan] = {}

    def field_name(self, name: str) -> str:
        """The wire name of a field given by its Python or wire name. Raises DatabaseError listing the fields."""
        wire = self._names.get(name)
        if wire is None:
            wire = name if self.definition is None else self.definition.field_name(name)
            self._names[name] = wire
        return wire

    def changes(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """What a patch was given by field name → wire name → new value, UNSET to remove."""
        changes: dict[str, Any] = {}
        known = self._changed
        for name, value in given.items():
            wire = known.get(name)
            if wire is None:
                assert self.definition is not None
                (wire,) = self.definition.changes({name: UNSET})  # finds and checks the name
                if len(known) < 4096:
                    known[name] = wire
            if wire in changes:
                raise DatabaseError(f'The field "{wire}" is given twice.', code="DuplicateField")
            changes[wire] = value if type(value) in _PLAIN else self.operand(wire, value)
        return changes

    def operand(self, field: str, value: Any) -> Any:
        """A value that user code compares `field` (wire name) with, as the index has it."""
        if type(value) in _PLAIN:
            return value
        if value is UNSET:
            return value
        if value is None:
            return UNSET if self._none_is_absent(field) else None
        return dump(value)

    def _none_is_absent(self, field: str) -> bool:
        known = self._optional_none.get(field)
        if known is None:
            definition = self.definition
            known = self._optional_none[field] = (
                definition is not None and "." not in field and field[:1] != "_" and definition.is_optional_none(field)
            )
        return known

    def holds_int64(self, path: str) -> bool:
        """Whether a field can only be an Int64 (or null, or absent), so that a plain int compared with it means one."""
        if self.definition is None:
            return False
        found = list(_at(self.definition.validator, path.split(".")))
        return any(isinstance(v, Int64Value) for v in found) and not any(
            isinstance(v, Float64 | AnyValue) for v in found
        )

    def plan(self, index: IndexInfo) -> IndexPlan:
        """The plan of one of its indexes."""
        plan = self._plans.get(index.name)
        if plan is None or plan.fields[:-2] != index.fields:
            plan = self._plans[index.name] = IndexPlan(self, index)
        return plan


class IndexPlan:
    """How keyword arguments become the prefix of an index key. `fields` end in creation time and id."""

    __slots__ = ("_int64", "_positions", "binding", "fields", "name")

    def __init__(self, binding: TableBinding, index: IndexInfo) -> None:
        self.binding = binding
        self.name = index.name
        self.fields: tuple[str, ...] = ("_id",) if index.is_by_id else (*index.fields, "_creationTime", "_id")
        self._positions: dict[str, int] = {}
        self._int64: tuple[int, ...] = tuple(
            at for at, path in enumerate(self.fields) if path[:1] != "_" and binding.holds_int64(path)
        )

    def operand(self, position: int, value: Any) -> Any:
        """A value that the field at this position is compared with, as the index has it."""
        if type(value) is int and position in self._int64:
            return Int64(value)
        return self.binding.operand(self.fields[position], value)

    def position(self, name: str) -> int:
        """Which field of the index `name` means. Raises DatabaseError when it is none of them."""
        position = self._positions.get(name)
        if position is None:
            fields = self.fields
            wire = self.wire_name(name)
            if wire not in fields:
                raise DatabaseError(
                    f'The index range included a comparison with "{name}", but {self.title} with fields '
                    f"{_listed(fields)} doesn't index this field.",
                    code="FieldNotInIndex",
                )
            position = self._positions[name] = fields.index(wire)
        return position

    def wire_name(self, name: str) -> str:
        """The wire name or path that `name` means, preferably one of the index's. Raises DatabaseError for no field."""
        fields = self.fields
        wire = name if name in fields else _SYSTEM_NAMES.get(name) or camel(name)
        return wire if wire in fields else self.binding.field_name(name)

    @property
    def title(self) -> str:
        return f"{self.binding.name}.{self.name}"

    def prefix(self, equal: Mapping[str, Any]) -> list[Any]:
        """The leading values of a key, from `field=value` pairs in any order."""
        count = len(equal)
        binding, fields = self.binding, self.fields
        values: list[Any] = [None] * count
        seen = 0
        for name, value in equal.items():
            position = self.position(name)
            if position >= count:
                raise self.out_of_order([fields[self.position(n)] for n in equal])
            if seen >> position & 1:
                raise already_defined("equality", name, "==", value)
            seen |= 1 << position
            values[position] = value if type(value) in _PLAIN else binding.operand(fields[position], value)
        for position in self._int64:
            if position < count:
                values[position] = self.operand(position, values[position])
        return values

    def equal_range(self, index: IndexInfo, equal: Mapping[str, Any]) -> IndexRange:
        """The range of keys that begin with these values."""
        if len(equal) == 1 and not self._int64:  # the most frequent kind, for less
            [(name, value)] = equal.items()
            kind = type(value)
            if self._positions.get(name) == 0 and (kind is str or kind is int):
                prefix = encode_value(value)
                return IndexRange(index, prefix, after_prefix(prefix), prefix, 1)
        prefix = encode_key(self.prefix(equal))
        return IndexRange(index, prefix, after_prefix(prefix), prefix, len(equal))

    def out_of_order(self, used: list[str]) -> DatabaseError:
        wrong = next((name for at, name in enumerate(self.fields) if name not in used), "?")
        first = next(
            (name for name in used if self.fields.index(name) > self.fields.index(wrong)), used[0] if used else "?"
        )
        return DatabaseError(
            f"Tried to query index {self.title} but the query didn't use the index fields in order.\n"
            f"Index fields: {_listed(self.fields)}\nQuery fields: {_listed(used)}\n"
            f"First incorrect field: {first}\n"
            f'For equality on "{first}", "{wrong}" must be given too.',
            code="InvalidIndexRange",
        )


def already_defined(kind: str, field: str, operator: str, value: Any) -> DatabaseError:
    return DatabaseError(
        f'Already defined {kind} bound in index range. Can\'t add "{field}" {operator} {value!r}.',
        code="AlreadyDefinedBound",
    )


def _listed(names: Any) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"


def _at(validator: Validator, path: Sequence[str]) -> Iterator[Validator]:
    """All that may stand at a path."""
    if isinstance(validator, Union):
        for member in validator.members:
            yield from _at(member, path)
    elif not path or isinstance(validator, AnyValue):
        yield validator
    elif isinstance(validator, Object) and path[0] in validator.fields:
        yield from _at(validator.fields[path[0]][0], path[1:])


def bind_table(app: App, table: Any) -> TableBinding:
    """The binding for what stands as a table in user code: a document class, a union of them, or a name.

    Raises DatabaseError for anything else.
    """
    try:
        binding = app.tables.get(table)
    except TypeError:
        raise DatabaseError(f"{table!r} is no table: name it by its document class, or by its name.") from None
    if binding is not None:
        return binding
    if isinstance(table, str):
        return binding_of_name(app, table)
    definition = app.types.table_of(table)
    name = SYSTEM_TABLES.get(table) if definition is None else definition.name
    if name is None:
        known = ", ".join(app.types.tables) or "none"
        raise DatabaseError(
            f"{getattr(table, '__name__', table)!r} is not a table of this app's schema. Its tables: {known}."
        )
    binding = binding_of_name(app, name)
    app.tables[table] = binding
    return binding


def binding_of_name(app: App, name: str) -> TableBinding:
    """The binding of a table by its name, declared or not."""
    binding = app.tables.get(name)
    if binding is None:
        definition = app.types.tables.get(name)
        read = None
        if definition is None and (document := _SYSTEM_CLASSES.get(name)) is not None:
            read = app.types.document_codec(document).read
        binding = TableBinding(name, definition, read)
        # Undeclared names come from user code, one by one: don't let made-up ones pile up.
        if definition is not None or len(app.tables) < 10_000:
            app.tables[name] = binding
    return binding


def unknown_index(binding: TableBinding, name: str, known: Any) -> DatabaseError:
    return DatabaseError(
        f"Index {binding.name}.{name} not found.{did_you_mean(name, known)} Its indexes: {', '.join(sorted(known))}.",
        code="IndexNotFound",
    )
