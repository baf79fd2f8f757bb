"""Tables and the schema: what `define_table` and `define_schema` declare, and how documents of a table are checked and read.

A schema is a value of its own: nothing about it is kept on the classes, so two apps in one process don't meet.
"""

from __future__ import annotations

import threading
import types
import typing
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar, get_args, get_origin

from typing_extensions import TypeForm

from reactor.errors import DatabaseError, SchemaError
from reactor.limits import MAX_TABLES
from reactor.schema.annotations import TypeReader
from reactor.schema.arguments import ArgumentsCodec
from reactor.schema.codec import Codec
from reactor.schema.hints import Scope, UnresolvedName
from reactor.schema.naming import camel, identifier_problem, refuse_collisions
from reactor.schema.signature import arguments_of, returns_of
from reactor.schema.structs import Document, Projection, fields_of
from reactor.schema.system import SYSTEM_TABLES
from reactor.schema.table import TableDefinition
from reactor.schema.toplevel import is_open
from reactor.schema.validators import (
    IdOf,
    OptionalField,
    Validator,
)

__all__ = ["SchemaDefinition", "TableDefinition", "define_schema", "define_table"]

_T = TypeVar("_T")

_SYSTEM_WIRE: Final = ("_id", "_creationTime")
_SYSTEM_NAMES: Final = {"id": "_id", "creation_time": "_creationTime"}


class SchemaDefinition:
    """All tables of an app. `prepare` reads their types; until then only names are known."""

    def __init__(self, tables: Mapping[str, TableDefinition], *, schema_validation: bool = True) -> None:
        self.schema_validation = schema_validation
        self.tables = dict(tables)
        """Wire name → table."""
        self.prepared = False
        self._by_class: dict[type[Document], TableDefinition] = {}
        for table in tables.values():
            for cls in table.classes:
                other = self._by_class.setdefault(cls, table)
                if other is not table:
                    raise SchemaError(
                        f'{cls.__name__} is the class of two tables, "{other.name}" and "{table.name}", so Id[{cls.__name__}] '
                        f"would not say of which; make a subclass for one of them."
                    )
        self._by_name = {cls.__name__: cls for cls in [*self._by_class, *SYSTEM_TABLES]}
        self.reader = TypeReader(self.table_name_of, self._by_name)
        self._codecs: dict[Any, Codec] = {}
        self._lock = threading.RLock()

    def prepare(self) -> None:
        """Read all types, once all modules are loaded. Raises SchemaError; calling it again does nothing."""
        if self.prepared:
            return
        for table in self.tables.values():
            table._prepare(self.reader, schema_validation=self.schema_validation)
        self.prepared = True

    def table_of(self, cls: Any) -> TableDefinition | None:
        """The table whose documents are of `cls` (a Document class, or a union of those of one table), or None."""
        if get_origin(cls) in (typing.Union, types.UnionType):
            found = {self.table_of(member) for member in get_args(cls)}
            return found.pop() if len(found) == 1 else None
        return self._by_class.get(cls)

    def table_name_of(self, cls: Any) -> str | None:
        """The table that ids of `cls` belong to: its own, that of the nearest class above it, or of all below it."""
        if not isinstance(cls, type):
            return None
        for base in cls.__mro__:
            if base in SYSTEM_TABLES:
                return SYSTEM_TABLES[base]
            if base in self._by_class:
                return self._by_class[base].name
        below = {table.name for member, table in self._by_class.items() if issubclass(member, cls)}
        return below.pop() if len(below) == 1 and cls is not Document else None

    def codec_of(self, annotation: Any, where: str = "") -> Codec:
        """The codec of an evaluated annotation, as seen from this schema. Raises SchemaError."""
        try:
            known = self._codecs.get(annotation)
        except TypeError:
            known = None
        if known is None:
            with self._lock:  # asked for on store threads, too
                known = Codec(self.reader.shape(annotation, Scope({}, None, where or str(annotation))))
            with suppress(TypeError):  # an unhashable annotation is read each time
                self._codecs[annotation] = known
        return known

    def document_codec(self, cls: type[Document]) -> Codec:
        """The codec of stored documents of a class, system tables' included. Raises SchemaError for an unknown one."""
        return self.codec_of(cls)

    def projection_codec(self, table: TableDefinition | None, cls: type[Projection]) -> Codec:
        """The codec that reads a stored body of `table` into a projection. Raises DatabaseError."""
        if not (isinstance(cls, type) and issubclass(cls, Projection)):
            raise DatabaseError(f"select takes a Projection class, not {cls!r}: `class Summary(Projection): …`.")
        if table is not None and not is_open(table.validator):
            for f in fields_of(cls):
                if f.wire not in table.field_names:
                    raise DatabaseError(
                        f'{cls.__name__}.{f.name}: the table "{table.name}" has no field "{f.wire}". '
                        f"Its fields: {', '.join(table.field_names)}.",
                        code="UnknownField",
                    )
        return self.codec_of(cls)

    def arguments_of(
        self,
        handler: Callable[..., Any],
        args: Mapping[str, Validator | OptionalField] | Validator | None = None,
        *,
        skip: int = 1,
    ) -> ArgumentsCodec:
        """The codec of a handler's arguments, as seen from this schema. Raises SchemaError."""
        return arguments_of(handler, args, reader=self.reader, skip=skip)

    def returns_of(
        self, handler: Callable[..., Any], returns: Validator | Mapping[str, Validator | OptionalField] | None = None
    ) -> Codec:
        """The codec of a handler's result, as seen from this schema. Raises SchemaError."""
        return returns_of(handler, returns, reader=self.reader)

    def id(self, table: str) -> IdOf:
        """`v.id(table)`, for a table of this schema. Raises SchemaError for another."""
        if table not in self.tables and not table.startswith("_"):
            raise SchemaError(f'Table "{table}" is not in this schema. Tables in this schema: {", ".join(self.tables)}')
        return IdOf(table)

    def doc(self, table: str) -> Validator:
        """The validator of a whole document of the table, `_id` and `_creationTime` included."""
        self.id(table)
        return self.tables[table].document_validator


def define_table(
    of: TypeForm[Any] | Mapping[str, Validator | OptionalField] | Validator, /, *, name: str | None = None
) -> TableDefinition:
    """A table of documents: a Document class, a union of them, or validators (`{"name": v.string()}`).

    `name` is the wire name; left out, it is the keyword in `define_schema`, in camelCase. Raises SchemaError.
    """
    return TableDefinition(of, name)


def define_schema(*, schema_validation: bool = True, **tables: TableDefinition) -> SchemaDefinition:
    """The schema of an app: its tables by name.

    With `schema_validation=False` no document is checked, and indexes may be over any fields. Raises SchemaError.
    """
    named: dict[str, TableDefinition] = {}
    names: list[tuple[str, str]] = []
    for keyword, table in tables.items():
        if not isinstance(table, TableDefinition):
            hint = f"define_table({getattr(table, '__name__', '…')})"
            raise SchemaError(f"define_schema({keyword}=…) takes a table: write {keyword}={hint}.")
        name = table.explicit_name or camel(keyword)
        names.append((keyword, name))
        problem = identifier_problem(name)
        if problem is not None:
            raise SchemaError(f"The table name {name!r} is invalid: {problem}", code="InvalidTableName")
        if name.startswith("_"):
            raise SchemaError(f'The table name {name!r} is reserved: names with "_" in front are system tables.')
        if table.name and table.explicit_name is None:
            raise SchemaError(f"One table definition is used twice, as {table.name!r} and as {name!r}.")
        table.name = name
        named[name] = table
    refuse_collisions(names, "define_schema")
    if len(named) > MAX_TABLES:
        raise SchemaError(f"Number of tables cannot exceed {MAX_TABLES}.", code="TooManyTables")
    schema = SchemaDefinition(named, schema_validation=schema_validation)
    # A class further down, or in a module that is still loading, is no error yet: the loader prepares again.
    with suppress(UnresolvedName):
        schema.prepare()
    return schema
