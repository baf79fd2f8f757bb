"""Row-level security: `with_rules(ctx.db, {Task: Rule(read=…, modify=…)})` is a `ctx.db` that keeps to rules.

A document that may not be read looks as if it were not there; a write that is not allowed raises ApplicationError. Rules
are functions of the document, made where the caller is known, and may themselves read through the unguarded `ctx.db`.

Source of the semantics: convex-helpers' row-level security, as server-semantics 9.4 describes it.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, overload

from typing_extensions import TypeForm

from reactor.errors import ApplicationError, DatabaseError
from reactor.runtime.database import DatabaseReader, DatabaseWriter, SystemReader
from reactor.runtime.paging import PaginationOptions, PaginationResult
from reactor.runtime.query_builder import IndexedQuery, OrderedQuery, SearchQuery, TableQuery
from reactor.runtime.range_builder import IndexBounds, IndexEqualities
from reactor.runtime.search_builder import SearchFilters, SearchStart
from reactor.runtime.tables import bind_table, binding_of_name
from reactor.schema.ids import Id
from reactor.schema.structs import Document, Struct

__all__ = ["Rule", "RuledReader", "RuledWriter", "with_rules"]

D = TypeVar("D")
T = TypeVar("T")

Check = Callable[[Any], bool | Awaitable[bool]]
Policy = Literal["allow", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule(Generic[D]):
    """What may be done with the documents of one table; a rule left out is decided by the default.

    `read` and `modify` (patch, replace, delete) get the document as it is, `insert` the one to be inserted. Each may be
    `async`.
    """

    read: Callable[[D], bool | Awaitable[bool]] | None = None
    insert: Callable[[Any], bool | Awaitable[bool]] | None = None
    modify: Callable[[D], bool | Awaitable[bool]] | None = None


Rules = Mapping[Any, Rule[Any]]


@overload
def with_rules(db: DatabaseWriter, rules: Rules, /, *, default: Policy = "deny") -> RuledWriter: ...
@overload
def with_rules(db: DatabaseReader, rules: Rules, /, *, default: Policy = "deny") -> RuledReader: ...
def with_rules(db: DatabaseReader, rules: Rules, /, *, default: Policy = "deny") -> RuledReader:
    """`db` under rules: a mapping from document class (or table name) to `Rule`.

    `default` decides for tables and operations without a rule. System tables are not guarded. Raises SchemaError-like
    errors for classes that are no table.
    """
    if default not in ("allow", "deny"):
        raise DatabaseError(f'`default` is "allow" or "deny", not {default!r}')
    guard = _Guard(db, rules, default)
    return RuledWriter(db, guard) if isinstance(db, DatabaseWriter) else RuledReader(db, guard)


class _Guard:
    """The rules by table name."""

    def __init__(self, db: DatabaseReader, rules: Rules, default: Policy) -> None:
        self._app = db._call.root.app
        self._rules: dict[str, Rule[Any]] = {}
        self._default = default == "allow"
        for table, rule in rules.items():
            name = bind_table(self._app, table).name
            if not isinstance(rule, Rule):
                raise DatabaseError(
                    f"The rules of table {name!r} are a Rule(read=…, insert=…, modify=…), not {rule!r}."
                )
            self._rules[name] = rule

    def name_of(self, table: Any) -> str:
        return bind_table(self._app, table).name

    def check(self, table: str, operation: Literal["read", "insert", "modify"]) -> Check | bool:
        """The rule's function, or what the default says."""
        rule = self._rules.get(table)
        found = None if rule is None else getattr(rule, operation)
        return self._default if found is None else found

    async def allows(self, table: str, operation: Literal["read", "insert", "modify"], document: Any) -> bool:
        return await _decide(self.check(table, operation), document)


async def _decide(check: Check | bool, document: Any) -> bool:
    if isinstance(check, bool):
        return check
    answer = check(document)
    if inspect.isawaitable(answer):
        answer = await answer
    return bool(answer)


class RuledReader:
    """Reads under rules; like `ctx.db`."""

    __slots__ = ("_db", "_guard")

    def __init__(self, db: DatabaseReader, guard: _Guard) -> None:
        self._db = db
        self._guard = guard

    @overload
    async def get(self, id: Id[D], /) -> D | None: ...
    @overload
    async def get(self, table: TypeForm[D], id: str, /) -> D | None: ...
    @overload
    async def get(self, id: str, /) -> Any: ...
    async def get(self, first: Any, second: Any = None, /) -> Any:
        """The document with this id, or None, also when it may not be read."""
        document = await (self._db.get(first) if second is None else self._db.get(first, second))
        if document is None or not await self._guard.allows(
            self._table_of(first if second is None else second), "read", document
        ):
            return None
        return document

    async def get_many(self, ids: Iterable[Id[D]], /) -> list[D | None]:
        """The documents with these ids, in their order; None for those that are not there or may not be read."""
        return [await self.get(id) for id in ids]

    @overload
    def query(self, table: str, /) -> RuledQuery[Any]: ...
    @overload
    def query(self, table: TypeForm[D], /) -> RuledQuery[D]: ...
    def query(self, table: Any, /) -> RuledQuery[Any]:
        """Begin a query of a table; documents that may not be read are passed over."""
        return RuledQuery(self._db.query(table), self._guard.check(self._guard.name_of(table), "read"))

    def normalize_id(self, table: Any, text: str, /) -> Id[Any] | None:
        """As `ctx.db.normalize_id`: no document is looked at."""
        return self._db.normalize_id(table, text)

    @property
    def system(self) -> SystemReader:
        """The system tables, which have no rules."""
        return self._db.system

    def _table_of(self, target: Any) -> str:
        call = self._db._call
        if isinstance(target, Document):
            return bind_table(call.root.app, type(target)).name
        table = call.tx.table_of_id(target["_id"] if isinstance(target, Mapping) else str(target))
        if table is None:
            raise DatabaseError(f"{target!r} is not the id of a document.")
        return binding_of_name(call.root.app, table.name).name


class RuledWriter(RuledReader):
    """Reads and writes under rules; like the `ctx.db` of a mutation."""

    __slots__ = ()

    _db: DatabaseWriter

    @overload
    async def insert(self, document: D, /) -> Id[D]: ...
    @overload
    async def insert(self, table: str, document: Mapping[str, Any] | Struct, /) -> Id[Any]: ...
    @overload
    async def insert(self, table: TypeForm[D], document: Mapping[str, Any], /) -> Id[D]: ...
    async def insert(self, first: Any, second: Any = None, /) -> Any:
        """Insert a document. Raises ApplicationError when the insert rule says no."""
        table, document = (type(first), first) if second is None else (first, second)
        if not await self._guard.allows(self._guard.name_of(table), "insert", document):
            raise ApplicationError("insert access not allowed")
        return await (self._db.insert(first) if second is None else self._db.insert(first, second))

    async def patch(
        self, target: Id[Any] | Document | str, changes: Mapping[str, Any] | Struct | None = None, /, **fields: Any
    ) -> None:
        """Change some fields. Raises ApplicationError when the document may not be read or not be modified."""
        await self._may_modify(target)
        await self._db.patch(target, changes, **fields)

    async def replace(self, target: Any, document: Any, /) -> None:
        """Put another document in the place of this one. Raises ApplicationError like `patch`."""
        await self._may_modify(target)
        await self._db.replace(target, document)

    async def delete(self, target: Id[Any] | Document | str, /) -> None:
        """Delete a document. Raises ApplicationError like `patch`."""
        await self._may_modify(target)
        await self._db.delete(target)

    async def _may_modify(self, target: Any) -> None:
        # What is stored decides, not what the caller holds or wants to write.
        if isinstance(target, Document):
            target = target.id
        document = await self.get(target)
        if document is None:
            raise ApplicationError("no read access or doc does not exist")
        if not await self._guard.allows(self._table_of(target), "modify", document):
            raise ApplicationError("write access not allowed")


class RuledQuery(Generic[T]):
    """A query whose documents pass the read rule before anything is counted or taken."""

    __slots__ = ("_check", "_query")

    def __init__(self, query: OrderedQuery[T], check: Check | bool) -> None:
        self._query = query
        self._check = check

    @overload
    def with_index(self, name: str, /, **equal: Any) -> RuledQuery[T]: ...
    @overload
    def with_index(self, name: str, describe: Callable[[IndexEqualities], IndexBounds], /) -> RuledQuery[T]: ...
    def with_index(self, name: str, describe: Any = None, /, **equal: Any) -> RuledQuery[T]:
        """As `ctx.db.query(…).with_index`."""
        query = self._query
        if not isinstance(query, TableQuery):
            raise DatabaseError("`with_index` comes first, right after `query(…)`.")
        return RuledQuery(
            query.with_index(name, describe, **equal) if describe else query.with_index(name, **equal), self._check
        )

    def with_search_index(self, name: str, describe: Callable[[SearchStart], SearchFilters], /) -> RuledQuery[T]:
        """As `ctx.db.query(…).with_search_index`."""
        query = self._query
        if not isinstance(query, TableQuery):
            raise DatabaseError("`with_search_index` comes first, right after `query(…)`.")
        return RuledQuery(query.with_search_index(name, describe), self._check)

    def order(self, order: Literal["asc", "desc"], /) -> RuledQuery[T]:
        """`"asc"` (as without) or `"desc"`."""
        query = self._query
        if isinstance(query, SearchQuery):
            raise DatabaseError("Search queries must always be in relevance order. Can not set order manually.")
        if not isinstance(query, IndexedQuery):
            raise DatabaseError("Queries may only specify order at most once, before `filter`")
        return RuledQuery(query.order(order), self._check)

    def filter(self, predicate: Callable[[T], object], /) -> RuledQuery[T]:
        """Keep the documents for which `predicate(document)` is true."""
        return RuledQuery(self._query.filter(predicate), self._check)

    async def collect(self) -> list[T]:
        """All documents that may be read."""
        return [document async for document in self]

    async def take(self, count: int, /) -> list[T]:
        """The first `count` of them."""
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise DatabaseError("Arg 1 `n` to `take` must be a non-negative integer")
        found: list[T] = []
        if count:
            async for document in self:
                found.append(document)
                if len(found) == count:
                    break
        return found

    async def first(self) -> T | None:
        """The first of them, or None."""
        return next(iter(await self.take(1)), None)

    async def unique(self) -> T | None:
        """The only one of them, or None. Raises DatabaseError when there are two."""
        found = await self.take(2)
        if len(found) == 2:
            ids = ", ".join(str(getattr(d, "id", "?")) for d in found)
            raise DatabaseError(f"unique() query returned more than one result:\n [{ids}, ...]")
        return found[0] if found else None

    async def count(self) -> int:
        """How many may be read; each is looked at."""
        return len(await self.collect())

    async def paginate(self, options: PaginationOptions, /) -> PaginationResult[T]:
        """One page, without the documents that may not be read: it may be short, or empty and not the last."""
        result = await self._query.paginate(options)
        return result.with_page([document for document in result.page if await _decide(self._check, document)])

    async def __aiter__(self) -> AsyncIterator[T]:
        if self._check is False:
            return
        async for document in self._query:
            if await _decide(self._check, document):
                yield document
