"""Tables and the schema: what `define_table` and `define_schema` declare, and how documents of a table are checked and read.

A schema is a value of its own: nothing about it is kept on the classes, so two apps in one process don't meet.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, get_args, get_origin

from typing_extensions import Self, TypeForm

from reactor.errors import DatabaseError, InvalidDocument, InvalidValue, SchemaError
from reactor.limits import MAX_TABLES
from reactor.schema.annotations import TypeReader
from reactor.schema.codec import Codec
from reactor.schema.dumping import dump, dump_fields
from reactor.schema.hints import Scope, UnresolvedName
from reactor.schema.indexes import (
    AnyIndexDefinition,
    IndexDefinition,
    SearchIndexDefinition,
    VectorIndexDefinition,
    check_dimensions,
    check_filter_fields,
    check_index_fields,
    check_index_name,
    check_indexes,
)
from reactor.schema.naming import camel, did_you_mean, identifier_problem, refuse_collisions
from reactor.schema.shapes import FieldShape, Shape, StructShape, UnionShape, ValidatorShape
from reactor.schema.signature import ArgumentsCodec, arguments_of, returns_of
from reactor.schema.structs import Document, Projection, Struct, fields_of
from reactor.schema.system import SYSTEM_TABLES
from reactor.schema.validators import (
    AnyValue,
    Float64,
    IdOf,
    Object,
    OptionalField,
    Resolver,
    Union,
    Validator,
    object_fields,
)
from reactor.values.types import UNSET, UnsetType, Value

__all__ = ["SchemaDefinition", "TableDefinition", "define_schema", "define_table"]

_T = TypeVar("_T")

_SYSTEM_WIRE: Final = ("_id", "_creationTime")
_SYSTEM_NAMES: Final = {"id": "_id", "creation_time": "_creationTime"}


class TableDefinition:
    """One table. Each `.index(…)` gives back the same table, so they chain; the schema gives it its name."""

    def __init__(self, of: Any, name: str | None = None) -> None:
        self.name = name or ""
        self.explicit_name = name
        self._declared: list[AnyIndexDefinition] = []
        self.indexes: tuple[IndexDefinition, ...] = ()
        self.search_indexes: tuple[SearchIndexDefinition, ...] = ()
        self.vector_indexes: tuple[VectorIndexDefinition, ...] = ()
        self.classes, self._explicit = _content_of(of)
        self._schema_validation = True
        self._body: Shape | None = None
        self._codec: Codec | None = None
        self._body_codec: Codec | None = None
        self._fields: tuple[FieldShape, ...] = ()
        self._names: dict[str, str] = {}
        self._absent: dict[str, str] = {}

    # --- declaring -------------------------------------------------------------------------------------------------

    def index(self, name: str, /, *fields: str, staged: bool = False) -> Self:
        """An index over `fields` in this order, for `with_index`. Nested fields are dotted: `"author.name"`.

        A staged index is built and kept up to date, but can't be used until the flag is gone.
        """
        check_index_name(name)
        for one in fields:
            if not isinstance(one, str):
                raise SchemaError(f'index "{name}": fields are strings, one argument each: .index("{name}", "a", "b").')
        if not fields:
            check_index_fields(fields, self.name or "?", name)
        self._declared.append(IndexDefinition(name, tuple(fields), staged))
        return self

    def search_index(
        self, name: str, search_field: str, /, *, filter_fields: Sequence[str] = (), staged: bool = False
    ) -> Self:
        """A full-text index over one field, narrowed by equality on `filter_fields`."""
        check_index_name(name)
        check_filter_fields(_listed(filter_fields, name), "Search")
        self._declared.append(SearchIndexDefinition(name, search_field, tuple(filter_fields), staged))
        return self

    def vector_index(
        self,
        name: str,
        vector_field: str,
        /,
        *,
        dimensions: int,
        filter_fields: Sequence[str] = (),
        staged: bool = False,
    ) -> Self:
        """A nearest-neighbour index over a field of `dimensions` (2 to 4096) floats."""
        check_index_name(name)
        check_dimensions(dimensions)
        check_filter_fields(_listed(filter_fields, name), "Vector")
        self._declared.append(VectorIndexDefinition(name, vector_field, dimensions, tuple(filter_fields), staged))
        return self

    # --- what the schema works out ---------------------------------------------------------------------------------

    def _prepare(self, reader: TypeReader, *, schema_validation: bool) -> None:
        """Read the types. Everything is worked out first and set last, so a failure leaves the table as it was."""
        body, whole = self._shapes(reader)
        _check_top_level(body.validator, self.name)
        fields = _all_fields(body)
        names: dict[str, str] = {}
        for f in fields:
            names[f.field.name] = f.field.wire
        for f in fields:
            names.setdefault(f.field.wire, f.field.wire)
        if isinstance(body, ValidatorShape):
            names.update({name: name for name in _field_names(body.validator) if name not in _SYSTEM_WIRE})
        self._body, self._fields, self._names = body, fields, names
        self._absent = {f.field.wire: f.field.absent for f in fields}
        self._body_codec, self._codec = Codec(body), Codec(whole)
        self._schema_validation = schema_validation
        self._resolve_indexes(schema_validation)

    def _shapes(self, reader: TypeReader) -> tuple[Shape, Shape]:
        if self._explicit is not None:
            body = _without_system_fields(self._explicit)
            return ValidatorShape(body), ValidatorShape(_with_system_fields(body, self.name))
        bodies = [reader.struct(cls, system_fields=False) for cls in self.classes]
        wholes = [reader.struct(cls) for cls in self.classes]
        if len(bodies) == 1:
            return bodies[0], wholes[0]
        return UnionShape(bodies), UnionShape(wholes)

    def _resolve_indexes(self, schema_validation: bool) -> None:
        def resolve(name: str) -> str:
            return self._path(name, strict=False)

        indexes = [index.resolved(resolve) for index in self._declared]
        self.indexes = tuple(index for index in indexes if isinstance(index, IndexDefinition))
        self.search_indexes = tuple(index for index in indexes if isinstance(index, SearchIndexDefinition))
        self.vector_indexes = tuple(index for index in indexes if isinstance(index, VectorIndexDefinition))
        check_indexes(self.name, self.all_indexes, self.validator, schema_validation=schema_validation)

    @property
    def all_indexes(self) -> tuple[AnyIndexDefinition, ...]:
        return (*self.indexes, *self.search_indexes, *self.vector_indexes)

    @property
    def validator(self) -> Validator:
        """What a document may be, without its system fields."""
        return self._ready(self._body).validator

    @property
    def document_validator(self) -> Validator:
        """What a stored document is: with `_id` and `_creationTime`."""
        return self.codec.validator

    @property
    def codec(self) -> Codec:
        """Stored bodies ↔ documents: of the table's class, or plain dicts."""
        return self._ready(self._codec)

    def _ready(self, what: _T | None) -> _T:
        if what is None:
            raise SchemaError(
                f"The table {self.name or _class_names(self.classes)} is not part of a schema yet: "
                "pass it to define_schema(…), and let the schema be prepared."
            )
        return what

    # --- names -----------------------------------------------------------------------------------------------------

    @property
    def field_names(self) -> tuple[str, ...]:
        """The wire names of all fields, `_id` and `_creationTime` last."""
        self._ready(self._body)
        return (*dict.fromkeys(self._names.values()), *_SYSTEM_WIRE)

    def field_name(self, name: str) -> str:
        """The wire name (or dotted wire path) of a field given by Python name, wire name or in snake_case.

        Raises DatabaseError, which lists the fields, for an unknown one.
        """
        return self._path(name, strict=True)

    def _path(self, name: str, *, strict: bool) -> str:
        shape = self._ready(self._body)
        first, *rest = name.split(".")
        found = self._first_name(first)
        if found is None:
            if not strict:
                return name
            raise DatabaseError(
                f'The table "{self.name}" has no field {name!r}.{did_you_mean(name, [*self._names, *_SYSTEM_NAMES])} '
                f"Its fields: {', '.join(self.field_names)}.",
                code="UnknownField",
            )
        if not rest:
            return found
        inner = [f.shape for f in _fields_named(shape, found)]
        return ".".join([found, *_nested_path(inner, rest)])

    def _first_name(self, name: str) -> str | None:
        if name in self._names:
            return self._names[name]
        if camel(name) in self._names:
            return self._names[camel(name)]
        if name in _SYSTEM_WIRE:
            return name
        if name in _SYSTEM_NAMES:
            return _SYSTEM_NAMES[name]
        if _is_open(self.validator):
            return name
        return None

    def is_optional_none(self, wire_field: str) -> bool:
        """Whether None means absent in this field: its default is None."""
        return self._absent.get(wire_field) == "none"

    # --- documents -------------------------------------------------------------------------------------------------

    def check(self, body: bytes, doc: Mapping[str, Any], resolve: Resolver | None) -> None:
        """Raise InvalidDocument unless a whole document, given as bytes and as a tree, fits the table."""
        if not self._schema_validation:
            return
        codec = self.codec
        if codec.takes(body, resolve):
            return
        found = self.mismatch(doc, resolve)
        if found is not None:
            raise InvalidDocument(
                f'Failed to insert or update a document in table "{self.name}" because it does not match the schema: {found}',
                path=found.path,
                expected=found.expected,
                got=found.got,
            )

    def mismatch(self, doc: Mapping[str, Any], resolve: Resolver | None) -> InvalidValue | None:
        """Why a document (system fields are overlooked) does not fit, or None. Ignores `schema_validation=False`."""
        body = {name: value for name, value in doc.items() if name not in _SYSTEM_WIRE}
        try:
            self.validator.check(body, resolve)
        except InvalidValue as error:
            return error
        return None

    def new_document(
        self,
        given: Any,
        resolve: Resolver | None = None,
        *,
        id: str | None = None,
        creation_time: float | None = None,
    ) -> dict[str, Any]:
        """What `insert` or `replace` was given → the document's wire fields, defaults filled in, no system fields.

        System fields that come along must be those of the document that is replaced (`id`, `creation_time`). Raises
        InvalidDocument for them and for what is no object; `check` does the rest.
        """
        if isinstance(given, Struct):
            self._check_class(given)
            tree = dump_fields(given)
        elif isinstance(given, Mapping):
            tree = self._from_mapping(given)
        else:
            raise InvalidDocument(
                f"Value must be an Object: a {_class_names(self.classes) or 'dict'} is needed, not {type(given).__name__}",
                expected="object",
                got=type(given).__name__,
                code="InvalidArgument",
            )
        for name, own in (("_id", id), ("_creationTime", creation_time)):
            if name in tree and tree.pop(name) != own:
                raise _wrong_system_field(name, own)
        for name in tree:
            if isinstance(name, str) and name.startswith("_"):
                raise InvalidDocument(
                    f"Field '{name}' starts with an underscore, which is only allowed for system fields like '_id'",
                    path=f".{name}",
                    code="InvalidDocumentError",
                )
        return tree

    def changes(self, given: Any) -> dict[str, Value | UnsetType]:
        """What `patch` was given, a mapping by any name of a field or a struct, → wire name → new value, UNSET to remove.

        Fields of a struct that are UNSET stay as they are. Raises DatabaseError for unknown fields.
        """
        if isinstance(given, Struct):
            pairs: Any = [
                (f.name if f.name in self._names else f.wire, getattr(given, f.name))
                for f in fields_of(type(given))
                if not (f.absent == "none" and getattr(given, f.name) is None) and getattr(given, f.name) is not UNSET
            ]
        elif isinstance(given, Mapping):
            pairs = given.items()
        else:
            raise InvalidDocument(
                f"Value must be an Object: keywords, a dict or a Struct, not {type(given).__name__}",
                expected="object",
                got=type(given).__name__,
                code="InvalidArgument",
            )
        changes: dict[str, Any] = {}
        for name, value in pairs:
            wire_name = self._change_name(name)
            if wire_name in changes:
                raise DatabaseError(f'The field "{wire_name}" is given twice.', code="DuplicateField")
            if value is UNSET or (value is None and self.is_optional_none(wire_name)):
                changes[wire_name] = UNSET
            else:
                changes[wire_name] = dump(value)
        return changes

    def _change_name(self, name: str) -> str:
        if "." in name and name not in self._names:
            raise DatabaseError(
                f"patch changes whole top-level fields; {name!r} is inside one. Give the new value of "
                f"{name.split('.')[0]!r} instead.",
                code="UnknownField",
            )
        return self.field_name(name)

    def _check_class(self, given: Struct) -> None:
        if self.classes and not isinstance(given, self.classes) and isinstance(given, Document):
            raise InvalidDocument(
                f'The table "{self.name}" holds {_class_names(self.classes)}, not {type(given).__name__}.',
                expected=_class_names(self.classes),
                got=type(given).__name__,
            )

    def _from_mapping(self, given: Mapping[Any, Any]) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for name, value in given.items():
            wire_name = (self._names.get(name) or name) if self._fields and isinstance(name, str) else name
            if wire_name in tree:
                raise InvalidDocument(f'The field "{wire_name}" is given twice.', path=f".{wire_name}")
            if value is UNSET or (value is None and self._absent.get(wire_name) == "none"):
                continue
            tree[wire_name] = dump(value)
        if isinstance(self._body, StructShape):
            for f in self._body.fields:
                if f.field.wire not in tree and f.field.make_default is not None:
                    tree[f.field.wire] = dump(f.field.make_default())
        return tree


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
            known = Codec(self.reader.shape(annotation, Scope({}, None, where or str(annotation))))
            self._codecs[annotation] = known
        return known

    def document_codec(self, cls: type[Document]) -> Codec:
        """The codec of stored documents of a class, system tables' included. Raises SchemaError for an unknown one."""
        return self.codec_of(cls)

    def projection_codec(self, table: TableDefinition | None, cls: type[Projection]) -> Codec:
        """The codec that reads a stored body of `table` into a projection. Raises DatabaseError."""
        if not (isinstance(cls, type) and issubclass(cls, Projection)):
            raise DatabaseError(f"select takes a Projection class, not {cls!r}: `class Summary(Projection): …`.")
        if table is not None and not _is_open(table.validator):
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
            raise SchemaError(
                f'Table "{table}" is not in this schema. Tables in this schema: {", ".join(self.tables)}'
            )
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
    try:
        schema.prepare()
    except UnresolvedName:
        pass  # a class further down, or in a module that is still loading: `prepare` is called again when all have
    return schema


# --- helpers --------------------------------------------------------------------------------------------------------


def _content_of(of: Any) -> tuple[tuple[type[Document], ...], Validator | None]:
    if isinstance(of, Validator):
        return (), of
    if isinstance(of, Mapping):
        return (), Object(object_fields(of))
    if isinstance(of, OptionalField):
        raise SchemaError("define_table does not take an optional validator.")
    members = get_args(of) if get_origin(of) in (typing.Union, types.UnionType) else (of,)
    for member in members:
        if not (isinstance(member, type) and issubclass(member, Document)) or member is Document:
            name = getattr(member, "__name__", repr(member))
            instead = f"class {name}(Document)" if isinstance(member, type) else "class Message(Document)"
            raise SchemaError(f"define_table takes Document classes or validators, not {name}: write `{instead}: …`.")
        if getattr(member, "__parameters__", ()):
            raise SchemaError(f"{member.__name__} is generic; a table's class can't be.")
    return tuple(members), None


def _listed(fields: Sequence[str], index: str) -> Sequence[str]:
    if isinstance(fields, str):
        raise SchemaError(f'index "{index}": filter_fields is a list: ["{fields}"].')
    return fields


def _class_names(classes: Sequence[type]) -> str:
    return " | ".join(cls.__name__ for cls in classes)


def _check_top_level(validator: Validator, table: str) -> None:
    members = validator.members if isinstance(validator, Union) else (validator,)
    if isinstance(validator, AnyValue) or (members and all(isinstance(member, Object) for member in members)):
        for member in members:
            for name in _field_names(member):
                if name.startswith("_") and name not in _SYSTEM_WIRE:
                    raise SchemaError(
                        f'Table "{table}": Field \'{name}\' starts with an underscore, which is only allowed for system '
                        "fields like '_id'",
                        code="ReservedFieldName",
                    )
        return
    raise SchemaError(
        "The document validator in a schema must be an object, a union of objects, or `v.any()`. "
        f'Found {validator.render()} in table "{table}".',
        code="InvalidTopLevelTypeInSchemaError",
    )


def _with_system_fields(validator: Validator, table: str) -> Validator:
    if isinstance(validator, Object):
        system: dict[str, tuple[Validator, bool]] = {"_id": (IdOf(table), False), "_creationTime": (Float64(), False)}
        return Object({**validator.fields, **system})
    if isinstance(validator, Union):
        return Union(tuple(_with_system_fields(member, table) for member in validator.members))
    return validator


def _without_system_fields(validator: Validator) -> Validator:
    if isinstance(validator, Object):
        return validator.omit(*_SYSTEM_WIRE)
    if isinstance(validator, Union):
        return Union(tuple(_without_system_fields(member) for member in validator.members))
    return validator


def _field_names(validator: Validator) -> list[str]:
    if isinstance(validator, Object):
        return list(validator.fields)
    if isinstance(validator, Union):
        return list(dict.fromkeys(name for member in validator.members for name in _field_names(member)))
    return []


def _is_open(validator: Validator) -> bool:
    if isinstance(validator, Union):
        return any(map(_is_open, validator.members))
    return isinstance(validator, AnyValue)


def _all_fields(shape: Shape) -> tuple[FieldShape, ...]:
    if isinstance(shape, StructShape):
        return shape.fields
    if isinstance(shape, UnionShape):
        return tuple(f for member in shape.members for f in _all_fields(member))
    return ()


def _fields_named(shape: Shape, wire_name: str) -> list[FieldShape]:
    return [f for f in _all_fields(shape) if f.field.wire == wire_name]


def _nested_path(shapes: Sequence[Shape], parts: Sequence[str]) -> list[str]:
    """The wire names of a path inside nested structs; what is not a struct keeps its names."""
    if not parts:
        return []
    first, *rest = parts
    for shape in shapes:
        for f in _all_fields(shape):
            if first in (f.field.wire, f.field.name):
                return [f.field.wire, *_nested_path([f.shape], rest)]
    return [first, *rest]


def _wrong_system_field(name: str, own: Any) -> InvalidDocument:
    if own is None:
        what = "This document was read from the database; to copy it, build a new one from its fields."
        text = f"`{name}` is given by the database and can't be inserted. {what}"
    else:
        text = f"`{name}` of a document can't change."
    return InvalidDocument(text, path=f".{name}", code="InvalidDocumentError")

