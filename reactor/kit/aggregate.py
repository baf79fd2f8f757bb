"""`Aggregate`: counts, sums and ranks of a table's documents, kept by the store.

Every write of a document changes the aggregate in the same transaction, whoever writes, so they never disagree. Which aggregates
there are follows from the app in force: one that is new (or declared otherwise) is built in the background, one that is gone is
forgotten.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, overload

from typing_extensions import TypeForm

from reactor.engine.database import Database
from reactor.engine.ranges import IndexRange, after_prefix
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import FunctionError, SchemaError
from reactor.kit import records
from reactor.kit.ordered_tree import NODES, OrderedTree
from reactor.model import scheduled_functions
from reactor.model.scheduled_functions import off_the_books
from reactor.runtime.actions import ActionCtx
from reactor.runtime.app import App
from reactor.runtime.builtin import builtin
from reactor.runtime.contexts import MutationCtx, QueryCtx
from reactor.runtime.registry import internal_mutation
from reactor.runtime.tables import bind_table
from reactor.schema.dumping import dump
from reactor.schema.ids import Id
from reactor.store.catalogue import BY_CREATION_TIME
from reactor.values.keys import decode_key, encode_key
from reactor.values.types import UNSET
from reactor.values.wire import decode, encode

__all__ = ["Aggregate", "use_aggregates"]

D = TypeVar("D")

TABLE: Final = "_aggregates"
_BUILD: Final = "_reactor/kit.js:buildAggregate"
_FORGET: Final = "_reactor/kit.js:forgetAggregate"
_BUILD_AT_ONCE: Final = 100
_FORGET_AT_ONCE: Final = 500
_ANY: Final[Any] = object()

Context = QueryCtx | ActionCtx


class Aggregate(Generic[D]):
    """Counts and ranks of a table by `key`, one field or several, and sums of the field `sum`.

    With `namespace`, a field, each of its values has counts and ranks of its own. Declare it as a variable of a module in the
    functions package. A sum leaves out what is no number.
    """

    @overload
    def __init__(
        self: Aggregate[Any], table: str, /, *key: str, sum: str | None = None, namespace: str | None = None
    ) -> None: ...
    @overload
    def __init__(
        self, table: TypeForm[D], /, *key: str, sum: str | None = None, namespace: str | None = None
    ) -> None: ...
    def __init__(self, table: Any, /, *key: str, sum: str | None = None, namespace: str | None = None) -> None:
        """Raises SchemaError without a key."""
        if not key:
            raise SchemaError('Aggregate: say by which field it is ordered: Aggregate(Score, "points")')
        self.table: Any = table
        self.key: tuple[str, ...] = key
        self.sum_field: str | None = sum
        self.namespace: str | None = namespace
        self.module: str = sys._getframe(1).f_globals.get("__name__", "?")
        self.name: str | None = None
        """`module:variable` once an app has it in force."""

    # What can be asked. Bounds are values of the key's first field, or tuples of its first fields.

    def count(
        self, ctx: Context, /, *, namespace: Any = None, eq: Any = _ANY, gt: Any = _ANY, gte: Any = _ANY,
        lt: Any = _ANY, lte: Any = _ANY,
    ) -> Coroutine[Any, Any, int]:  # fmt: skip
        """How many documents have a key within the bounds."""
        start, end = _bounds(eq, gt, gte, lt, lte)
        return self._ask(ctx, "count", namespace, lambda tree: tree.total(start, end).count)

    def sum(
        self, ctx: Context, /, *, namespace: Any = None, eq: Any = _ANY, gt: Any = _ANY, gte: Any = _ANY,
        lt: Any = _ANY, lte: Any = _ANY,
    ) -> Coroutine[Any, Any, float]:  # fmt: skip
        """The sum over the documents with a key within the bounds."""
        start, end = _bounds(eq, gt, gte, lt, lte)
        return self._ask(ctx, "sum", namespace, lambda tree: tree.total(start, end).sum)

    def rank(
        self, ctx: Context, value: Any, /, *, namespace: Any = None, descending: bool = False
    ) -> Coroutine[Any, Any, int]:
        """How many documents come before this key: 0 for the first. With `descending`, how many have a greater one.

        Documents with an equal key share their rank.
        """
        start, end = _bounds(_ANY, value if descending else _ANY, _ANY, _ANY if descending else value, _ANY)
        return self._ask(ctx, "rank", namespace, lambda tree: tree.total(start, end).count)

    def at(
        self, ctx: Context, offset: int, /, *, namespace: Any = None, descending: bool = False
    ) -> Coroutine[Any, Any, Id[D] | None]:
        """The id of the document at this place, 0 being the first, or None beyond the last."""

        def look(tree: OrderedTree) -> Any:
            place = tree.total().count - 1 - offset if descending else offset
            found = tree.at(place) if place >= 0 else None
            return None if found is None else decode_key(found)[-1]

        return self._ask(ctx, "at", namespace, look)

    def min(self, ctx: Context, /, *, namespace: Any = None) -> Coroutine[Any, Any, Any]:
        """The least key (a list, if it has several fields), or None without documents."""
        return self._ask(ctx, "min", namespace, lambda tree: self._shown(tree.first()))

    def max(self, ctx: Context, /, *, namespace: Any = None) -> Coroutine[Any, Any, Any]:
        """The greatest key, or None."""
        return self._ask(ctx, "max", namespace, lambda tree: self._shown(tree.first(reverse=True)))

    def _shown(self, key: bytes | None) -> Any:
        if key is None:
            return None
        values = [None if value is UNSET else value for value in decode_key(key)[:-2]]
        return values if len(self.key) > 1 else values[0]

    def _ask(self, ctx: Context, what: str, namespace: Any, look: Callable[[OrderedTree], Any]) -> Any:
        space = encode_key([dump(namespace)] if self.namespace is not None else [])

        def work(tx: Transaction) -> Any:
            state = None if self.name is None else records.find(tx, TABLE, "by_name", self.name)
            if state is None:
                raise FunctionError(f"{self!r} is not in force: declare it as a variable of a module of the app.")
            if not state["ready"]:
                raise FunctionError(
                    f"{self!r} is still being built: {state['built']} documents so far.", code="AggregateNotReady"
                )
            return look(OrderedTree(tx, _tree_name(state), space))

        return records.in_transaction(ctx, f"Aggregate.{what}", work)

    def __repr__(self) -> str:
        return f"<Aggregate {self.name or self.module}>"


def _bounds(eq: Any, gt: Any, gte: Any, lt: Any, lte: Any) -> tuple[bytes, bytes | None]:
    if eq is not _ANY:
        if any(bound is not _ANY for bound in (gt, gte, lt, lte)):
            raise FunctionError("`eq` goes without other bounds.")
        prefix = _prefix(eq)
        return prefix, after_prefix(prefix)
    if (gt is not _ANY and gte is not _ANY) or (lt is not _ANY and lte is not _ANY):
        raise FunctionError("One lower and one upper bound at most.")
    start = b"" if gt is gte is _ANY else _prefix(gte) if gt is _ANY else after_prefix(_prefix(gt))
    end = None if lt is lte is _ANY else _prefix(lt) if lte is _ANY else after_prefix(_prefix(lte))
    return start, end


def _prefix(value: Any) -> bytes:
    return encode_key([dump(part) for part in value] if isinstance(value, tuple) else [dump(value)])


# Kept up to date by every write


class _Kept:
    """An aggregate of the app in force, with the wire names of its fields."""

    def __init__(self, aggregate: Aggregate[Any], app: App) -> None:
        binding = bind_table(app, aggregate.table)
        self.name: str = aggregate.name or "?"
        self.table = binding.name
        self._key = [binding.field_name(field).split(".") for field in aggregate.key]
        self._sum = None if aggregate.sum_field is None else binding.field_name(aggregate.sum_field).split(".")
        self._namespace = None if aggregate.namespace is None else binding.field_name(aggregate.namespace).split(".")
        self.definition: dict[str, Any] = {
            "table": self.table,
            "key": [".".join(path) for path in self._key],
            "sum": None if self._sum is None else ".".join(self._sum),
            "namespace": None if self._namespace is None else ".".join(self._namespace),
        }

    def place(self, document: Mapping[str, Any]) -> tuple[bytes, bytes, float]:
        """(namespace, key, number) of a document."""
        space = [] if self._namespace is None else [_null(_at(document, self._namespace))]
        number = 0 if self._sum is None else _at(document, self._sum)
        if isinstance(number, bool) or not isinstance(number, int | float):
            number = 0
        # Equal keys come in the order of their creation, as in an index.
        tail = (document["_creationTime"], document["_id"])
        key = encode_key([*(_at(document, path) for path in self._key), *tail])
        return encode_key(space), key, number

    def observe(self, tx: WriteTransaction, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        old = None if before is None else self.place(before)
        new = None if after is None else self.place(after)
        if old == new:
            return
        with off_the_books(tx):
            state = records.find(tx, TABLE, "by_name", self.name)
            if state is None or state["definition"] != self.definition:
                return  # it is about to be built, from what is there by then
            if old is not None and (new is None or old[:2] != new[:2]):
                OrderedTree(tx, _tree_name(state), old[0]).remove(old[1])
            if new is not None:
                OrderedTree(tx, _tree_name(state), new[0]).put(new[1], new[2])


def _at(document: Any, path: Sequence[str]) -> Any:
    for name in path:
        document = document.get(name, UNSET) if isinstance(document, dict) else UNSET
    return document


def _null(value: Any) -> Any:
    return None if value is UNSET else value


def _tree_name(state: Mapping[str, Any]) -> str:
    return f"{state['name']}#{state['version']}"


# Which there are


async def use_aggregates(database: Database, app: App) -> None:
    """Bring the aggregates of an app into force, before anything of it runs. Raises SchemaError for unknown fields."""
    kept = {found.name: found for found in _declared(app)}
    observers: dict[str, list[_Kept]] = {}
    for aggregate in kept.values():
        observers.setdefault(aggregate.table, []).append(aggregate)
    # From here on every new transaction tells these; what it does before the states below are written counts as not told.
    database.observers = {table: _telling(all_of_it) for table, all_of_it in observers.items()}
    database.rebuilders = {table: _rebuilding(all_of_it) for table, all_of_it in observers.items()}
    await database.write(lambda tx: _bring_into_force(tx, kept))


def _declared(app: App) -> list[_Kept]:
    found: list[_Kept] = []
    for path, module in app.modules.items():
        for variable, value in vars(module).items():
            if isinstance(value, Aggregate) and value.module == module.__name__:
                value.name = f"{path}:{variable}"
                found.append(_Kept(value, app))
    return found


def _telling(aggregates: list[_Kept]) -> Callable[[WriteTransaction, Any, Any], None]:
    def tell(tx: WriteTransaction, before: dict[str, Any] | None, after: dict[str, Any] | None) -> None:
        for aggregate in aggregates:
            aggregate.observe(tx, before, after)

    return tell


def _rebuilding(aggregates: list[_Kept]) -> Callable[[WriteTransaction], None]:
    """For a table whose documents all gave way to others: build anew, under a version that no old node has."""

    def rebuild(tx: WriteTransaction) -> None:
        with off_the_books(tx):
            for aggregate in aggregates:
                state = records.find(tx, TABLE, "by_name", aggregate.name)
                if state is None:
                    continue
                _schedule_forgetting(tx, _tree_name(state))
                version, empty = state["version"] + 1, _is_empty(tx, aggregate.table)
                records.update(tx, TABLE, state, version=version, ready=empty, cursor=None, built=0)
                if not empty:
                    _schedule_building(tx, aggregate.name, version)

    return rebuild


def _bring_into_force(tx: WriteTransaction, kept: Mapping[str, _Kept]) -> None:
    with off_the_books(tx):
        known = {state["name"]: state for state in records.scan(tx, TABLE, "by_name")}
        for name, state in known.items():
            aggregate = kept.get(name)
            if aggregate is None:
                tx.delete(records.table_of(tx, TABLE), state["_id"])
                _schedule_forgetting(tx, _tree_name(state))
            elif state["definition"] != aggregate.definition:
                _schedule_forgetting(tx, _tree_name(state))
                fields = {"definition": aggregate.definition, "version": state["version"] + 1}
                records.update(tx, TABLE, state, **fields, ready=False, cursor=None, built=0)
                _schedule_building(tx, name, state["version"] + 1)
        for name, aggregate in kept.items():
            if name not in known:
                # The version differs from one that may be on its way out.
                version = int(tx.now_ms)
                empty = _is_empty(tx, aggregate.table)
                fields = {"name": name, "definition": aggregate.definition, "version": version}
                tx.insert(TABLE, {**fields, "ready": empty, "cursor": None, "built": 0})
                if not empty:
                    _schedule_building(tx, name, version)


def _is_empty(tx: Transaction, table: str) -> bool:
    info = tx.table(table)
    return info is None or not tx.rows(info, IndexRange(info.indexes[BY_CREATION_TIME], b"", None), 1)


def _schedule_building(tx: WriteTransaction, name: str, version: int) -> None:
    scheduled_functions.schedule(tx, _BUILD, encode({"name": name, "version": version}), tx.now_ms)


def _schedule_forgetting(tx: WriteTransaction, tree: str) -> None:
    scheduled_functions.schedule(tx, _FORGET, encode({"tree": tree}), tx.now_ms)


async def _build(ctx: MutationCtx, name: str, version: int) -> None:
    """Enter some documents; those that writers have entered meanwhile are there already, and stay as they are."""
    app = ctx._call.root.app
    aggregate = next((found for found in _declared(app) if found.name == name), None)

    def work(tx: WriteTransaction) -> None:
        state = records.find(tx, TABLE, "by_name", name)
        if state is None or state["version"] != version or aggregate is None:
            return
        cursor, count = state["cursor"], 0
        info = tx.table(aggregate.table)
        if info is not None:
            start = b"" if cursor is None else cursor + b"\x00"
            scan = tx.scan(IndexRange(info.indexes[BY_CREATION_TIME], start, None))
            while count < _BUILD_AT_ONCE and (row := scan.next()) is not None:
                document: Any = decode(row[1])
                space, key, number = aggregate.place(document)
                OrderedTree(tx, _tree_name(state), space).put(key, number)
                cursor, count = row[0], count + 1
        ready = count < _BUILD_AT_ONCE
        records.update(tx, TABLE, state, cursor=cursor, built=state["built"] + count, ready=ready)
        if not ready:
            _schedule_building(tx, name, version)

    await records.in_transaction(ctx, "Aggregate", work, writes=True)


async def _forget(ctx: MutationCtx, tree: str) -> None:
    def work(tx: WriteTransaction) -> None:
        table = records.table_of(tx, NODES)
        for number, node in enumerate(records.scan(tx, NODES, "by_key", (tree,))):
            if number == _FORGET_AT_ONCE:
                _schedule_forgetting(tx, tree)
                break
            tx.delete(table, node["_id"])

    await records.in_transaction(ctx, "Aggregate", work, writes=True)


builtin(internal_mutation(_build), "kit:buildAggregate")
builtin(internal_mutation(_forget), "kit:forgetAggregate")
