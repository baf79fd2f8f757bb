"""`ctx.db`: documents by id, queries, and (in mutations) writes. Typed by the document classes of the schema."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, Final, TypeVar, overload

from typing_extensions import TypeForm

from reactor.engine.commit_record import ANY_TABLE
from reactor.errors import DatabaseError, DocumentNotFound, InvalidDocument, InvalidValue
from reactor.model.system_tables import PUBLIC
from reactor.runtime.call import Call, Operation
from reactor.runtime.query_builder import TableQuery
from reactor.runtime.query_plan import Plan
from reactor.runtime.tables import TableBinding, bind_table, binding_of_name
from reactor.schema.dumping import dump
from reactor.schema.ids import Id
from reactor.schema.structs import Document, Struct
from reactor.store.catalogue import TableInfo
from reactor.values.ids import decode_id
from reactor.values.types import UNSET

__all__ = ["DatabaseReader", "DatabaseWriter", "SystemReader"]

D = TypeVar("D")
_NOTHING: Final[Any] = object()


class DatabaseReader:
    """Reads. Every method that does something is awaited."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    @overload
    def get(self, id: Id[D], /) -> Coroutine[Any, Any, D | None]: ...
    @overload
    def get(self, table: TypeForm[D], id: str, /) -> Coroutine[Any, Any, D | None]: ...
    @overload
    def get(self, id: str, /) -> Coroutine[Any, Any, Any]: ...
    def get(self, first: Any, second: Any = _NOTHING, /) -> Any:
        """The document with this id, or None. With a table, another table's id gives None, too."""
        return Operation(self._call, "ctx.db.get", self._get, (first, second))

    def _get(self, first: Any, second: Any = _NOTHING) -> Any:
        call = self._call
        tx = call.tx
        id = first if second is _NOTHING else second
        if type(id) is not str:
            id = _text(id, "get")
        table = tx.table_of_id(id)
        if table is None:
            _check_id(id, "get")
            tx.depend_on(ANY_TABLE)  # an import may bring the table that it belongs to
            return None
        app = call.root.app
        binding = app.tables.get(table.name) or binding_of_name(app, table.name)
        if second is not _NOTHING and bind_table(app, first) is not binding:
            return None
        body = tx.get(table, id)
        return None if body is None else binding.read(body)

    def get_many(self, ids: Iterable[Id[D]], /) -> Coroutine[Any, Any, list[D | None]]:
        """The documents with these ids, in their order; None for those that are not there."""
        return Operation(self._call, "ctx.db.get_many", self._get_many, (ids,))

    def _get_many(self, ids: Iterable[Any]) -> list[Any]:
        return [self._get(id) for id in ids]

    @overload
    def query(self, table: str, /) -> TableQuery[Any]: ...
    @overload
    def query(self, table: TypeForm[D], /) -> TableQuery[D]: ...
    def query(self, table: Any, /) -> TableQuery[Any]:
        """Begin a query of a table: its document class, or its name."""
        call = self._call
        binding = call.root.app.tables.get(table) if type(table) is not str else None
        if binding is None:
            binding = bind_table(call.root.app, table)
            if isinstance(table, str) and table.startswith("_"):
                self._refuse_system("query")
        return TableQuery(Plan(call, binding, call.tx.table(binding.name)))

    @overload
    def normalize_id(self, table: str, text: str, /) -> Id[Any] | None: ...
    @overload
    def normalize_id(self, table: TypeForm[D], text: str, /) -> Id[D] | None: ...
    def normalize_id(self, table: Any, text: str, /) -> Any:
        """`text` as an id of that table, or None when it is none; whether the document exists is not looked up."""
        call = self._call
        call.check("ctx.db.normalize_id")
        if isinstance(table, str) and table.startswith("_"):
            self._refuse_system("normalizeId")
        binding = bind_table(call.root.app, table)
        if not isinstance(text, str):
            return None
        info = call.tx.table_of_id(text)
        if info is None:
            call.tx.table(binding.name)  # an id of a table to come: depend on that
        return text if info is not None and info.name == binding.name else None

    @property
    def system(self) -> SystemReader:
        """The system tables by name, such as "_storage" and "_scheduled_functions"."""
        return SystemReader(self._call)

    def _refuse_system(self, method: str) -> None:
        raise DatabaseError(f"System tables can only be accessed from db.system.{method}().", code="SystemTableError")


class SystemReader(DatabaseReader):
    """`ctx.db.system`: system tables by name."""

    __slots__ = ()

    def _get(self, first: Any, second: Any = _NOTHING) -> Any:
        id = first if second is _NOTHING else second
        table = self._call.tx.table_of_id(_text(id, "get"))
        if table is not None and not table.is_system:
            raise DatabaseError("User tables cannot be accessed with db.system.", code="SystemTableError")
        if table is not None and table.name not in PUBLIC:
            return None  # one of our own, which nobody is told about
        return super()._get(first, second)

    def query(self, table: Any, /) -> TableQuery[Any]:
        call = self._call
        binding = bind_table(call.root.app, table)
        if not binding.name.startswith("_"):
            raise DatabaseError("User tables cannot be accessed with db.system.query().", code="SystemTableError")
        if binding.name not in PUBLIC:
            raise DatabaseError(
                f"There is no system table {binding.name!r} to read: there are {', '.join(PUBLIC)}.",
                code="SystemTableError",
            )
        return TableQuery(Plan(call, binding, call.tx.table(binding.name)))

    def _refuse_system(self, method: str) -> None:
        return


class DatabaseWriter(DatabaseReader):
    """Reads and writes. Writes are seen by later reads of the same mutation at once, by everybody else after it."""

    __slots__ = ()

    @overload
    def insert(self, document: D, /) -> Coroutine[Any, Any, Id[D]]: ...
    @overload
    def insert(self, table: str, document: Mapping[str, Any] | Struct, /) -> Coroutine[Any, Any, Id[Any]]: ...
    @overload
    def insert(self, table: TypeForm[D], document: Mapping[str, Any], /) -> Coroutine[Any, Any, Id[D]]: ...
    def insert(self, first: Any, second: Any = _NOTHING, /) -> Any:
        """Insert a document and return its id: `insert(Message(…))` or `insert("messages", {…})`."""
        return Operation(self._call, "ctx.db.insert", self._insert, (first, second))

    def _insert(self, first: Any, second: Any) -> str:
        call = self._call
        app = call.root.app
        if second is _NOTHING:
            binding = app.tables.get(type(first))
            if binding is None:
                binding = self._binding_of_document(first)
            document = first
        else:
            binding, document = bind_table(app, first), second
        if binding.name[:1] == "_":
            raise _read_only()
        return call.tx.insert(binding.name, self._fields(binding, document))  # type: ignore[attr-defined]

    def _binding_of_document(self, document: Any) -> TableBinding:
        if isinstance(document, Mapping):
            raise DatabaseError('To insert a dict, say into which table: `ctx.db.insert("messages", {…})`.')
        if not isinstance(document, Struct):
            raise DatabaseError(
                "Invalid argument `value` for `db.insert`: Value must be a document, as in "
                f"`ctx.db.insert(Message(…))`; got {type(document).__name__}."
            )
        return bind_table(self._call.root.app, type(document))

    def _fields(self, binding: TableBinding, document: Any, replacing: str | None = None) -> dict[str, Any]:
        """The wire fields of a whole document. Only one that replaces may come with its own system fields."""
        definition = binding.definition
        resolve = self._call.tx.catalogue.table_name
        if definition is not None:
            if replacing is None:
                return definition.new_document(document, resolve)
            given = isinstance(document, Mapping)
            created: Any = document.get("_creationTime") if given else getattr(document, "_creation_time", None)
            return definition.new_document(document, resolve, id=replacing, creation_time=created)
        method = "insert" if replacing is None else "replace"
        tree = dump(document)
        if not isinstance(tree, dict):
            raise DatabaseError(f"Invalid argument `value` for `db.{method}`: Value must be an Object")
        return _no_underscores({name: value for name, value in tree.items() if value is not UNSET})

    def patch(
        self, target: Id[Any] | Document | str, changes: Mapping[str, Any] | Struct | None = None, /, **fields: Any
    ) -> Coroutine[Any, Any, None]:
        """Change some fields: `patch(id, status="done")`, `patch(id, {…})`, `patch(id, PartialStruct(…))`.

        `UNSET` removes a field, and so does `None` where the field's default is None. Nested objects are replaced whole.
        Raises DocumentNotFound, InvalidDocument.
        """
        return Operation(self._call, "ctx.db.patch", self._patch, (target, changes, fields))

    def _patch(self, target: Any, changes: Any, fields: dict[str, Any]) -> None:
        table, id = self._target(target, "patch")
        app = self._call.root.app
        binding = app.tables.get(table.name) or binding_of_name(app, table.name)
        definition = binding.definition
        if definition is None:
            given = _loose_changes(changes, fields)
        elif changes is None:
            given = binding.changes(fields)
        elif isinstance(changes, Document):
            raise DatabaseError(
                f"`patch` takes the fields to change; a whole {type(changes).__name__} goes to `replace`."
            )
        else:
            given = {**definition.changes(changes), **binding.changes(fields)}
        self._call.tx.patch(table, id, given)  # type: ignore[attr-defined]

    @overload
    def replace(self, target: Id[D], document: D, /) -> Coroutine[Any, Any, None]: ...
    @overload
    def replace(
        self, target: Id[Any] | Document | str, document: Mapping[str, Any] | Struct, /
    ) -> Coroutine[Any, Any, None]: ...
    def replace(self, target: Any, document: Any, /) -> Any:
        """Put another document in the place of this one; id and creation time stay."""
        return Operation(self._call, "ctx.db.replace", self._replace, (target, document))

    def _replace(self, target: Any, document: Any) -> None:
        table, id = self._target(target, "replace")
        app = self._call.root.app
        binding = app.tables.get(table.name) or binding_of_name(app, table.name)
        self._call.tx.replace(table, id, self._fields(binding, document, id))  # type: ignore[attr-defined]

    def delete(self, target: Id[Any] | Document | str, /) -> Coroutine[Any, Any, None]:
        """Delete a document. Raises DocumentNotFound when it is not there (any more)."""
        return Operation(self._call, "ctx.db.delete", self._delete, (target,))

    def _delete(self, target: Any) -> None:
        table, id = self._target(target, "delete")
        self._call.tx.delete(table, id)  # type: ignore[attr-defined]

    def _target(self, target: Any, method: str) -> tuple[TableInfo, str]:
        if type(target) is str:
            id = target
        elif not isinstance(target, Document) or (id := target._id) is UNSET:  # pyright: ignore
            id = _text(target, method)
        table = self._call.tx.table_of_id(id)
        if table is None:
            _check_id(id, method)
            raise DocumentNotFound(
                f"Invalid argument `id` for `db.{method}`: there is no table that {id!r} belongs to."
            )
        if table.is_system:
            raise _read_only()
        return table, id


def _text(id: Any, method: str) -> str:
    if isinstance(id, str):
        return str(id)
    if isinstance(id, Document):
        return id.id
    if isinstance(id, Mapping) and isinstance(id.get("_id"), str):
        return id["_id"]
    raise DatabaseError(
        f"Invalid argument `id` for `db.{method}`, expected string but got '{type(id).__name__}': {id!r}"
    )


def _check_id(id: str, method: str) -> None:
    try:
        decode_id(id)
    except InvalidValue as error:
        raise DatabaseError(f"Invalid argument `id` for `db.{method}`: {error}", code="InvalidId") from None


def _read_only() -> DatabaseError:
    return DatabaseError("System tables (prefixed with `_`) are read-only.", code="SystemTableError")


def _loose_changes(changes: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """The changes to a document of a table that the schema does not declare: names stay as they are."""
    given = fields
    if isinstance(changes, Struct):
        given = {**dump(changes), **fields}
    elif isinstance(changes, Mapping):
        given = {**changes, **fields}
    elif changes is not None:
        raise DatabaseError(
            f"Invalid argument `value` for `db.patch`: Value must be an Object, not {type(changes).__name__}"
        )
    return _no_underscores({name: value if value is UNSET else dump(value) for name, value in given.items()})


def _no_underscores(fields: dict[str, Any]) -> dict[str, Any]:
    for name in fields:
        if isinstance(name, str) and name.startswith("_") and name not in ("_id", "_creationTime"):
            raise InvalidDocument(
                f"{fields!r} isn't a valid document: Field '{name}' starts with an underscore, which is only allowed for "
                "system fields like '_id'",
                path=f".{name}",
                code="InvalidDocumentError",
            )
    return fields
