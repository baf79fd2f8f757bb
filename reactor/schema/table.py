"""One table: its class or validators, its indexes, how its fields are called, and how its documents are checked and read."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar, get_args, get_origin

from reactor.errors import DatabaseError, InvalidDocument, InvalidValue, SchemaError
from reactor.schema.annotations import TypeReader
from reactor.schema.codec import Codec
from reactor.schema.dumping import dump, dump_fields
from reactor.schema.field_names import FieldNames
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
from reactor.schema.naming import did_you_mean
from reactor.schema.shapes import Shape, ValidatorShape
from reactor.schema.struct_shapes import StructShape, UnionShape
from reactor.schema.structs import Document, Struct, fields_of
from reactor.schema.toplevel import (
    SYSTEM_WIRE_NAMES,
    check_top_level,
    with_system_fields,
    without_system_fields,
)
from reactor.schema.validators import (
    Object,
    OptionalField,
    Resolver,
    Validator,
    object_fields,
)
from reactor.values.types import UNSET, UnsetType, Value

__all__ = ["TableDefinition"]

_T = TypeVar("_T")


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
        self._names: FieldNames | None = None

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
        check_top_level(body.validator, self.name)
        self._body, self._names = body, FieldNames(body)
        self._codec = Codec(whole)
        self._schema_validation = schema_validation
        self._resolve_indexes(schema_validation)

    def _shapes(self, reader: TypeReader) -> tuple[Shape, Shape]:
        if self._explicit is not None:
            body = without_system_fields(self._explicit)
            return ValidatorShape(body), ValidatorShape(with_system_fields(body, self.name))
        bodies = [reader.struct(cls, system_fields=False) for cls in self.classes]
        wholes = [reader.struct(cls) for cls in self.classes]
        if len(bodies) == 1:
            return bodies[0], wholes[0]
        return UnionShape(bodies), UnionShape(wholes)

    def _resolve_indexes(self, schema_validation: bool) -> None:
        names = self._ready(self._names)
        indexes = [index.resolved(names.index_path) for index in self._declared]
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
        return self._ready(self._names).all_fields

    def field_name(self, name: str) -> str:
        """The wire name (or dotted wire path) of a field given by Python name, wire name or in snake_case.

        Raises DatabaseError, which lists the fields, for an unknown one.
        """
        names = self._ready(self._names)
        found = names.path(name)
        if found is None:
            raise DatabaseError(
                f'The table "{self.name}" has no field {name!r}.{did_you_mean(name, names.spellings)} '
                f"Its fields: {', '.join(names.all_fields)}.",
                code="UnknownField",
            )
        return found

    def is_optional_none(self, wire_field: str) -> bool:
        """Whether None means absent in this field, or at this dotted path: its default is None."""
        return self._ready(self._names).is_optional_none(wire_field)

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
        body = {name: value for name, value in doc.items() if name not in SYSTEM_WIRE_NAMES}
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
        names = self._ready(self._names)
        if isinstance(given, Struct):
            pairs: Any = [
                (f.name if f.name in names.wire_names else f.wire, getattr(given, f.name))
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
            if value is UNSET or (value is None and names.is_optional_none(wire_name)):
                changes[wire_name] = UNSET
            else:
                changes[wire_name] = dump(value)
        return changes

    def _change_name(self, name: str) -> str:
        if "." in name:
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
        names = self._ready(self._names)
        tree: dict[str, Any] = {}
        for name, value in given.items():
            wire_name: Any = names.of_class.get(name, name)
            if wire_name in tree:
                raise InvalidDocument(f'The field "{wire_name}" is given twice.', path=f".{wire_name}")
            if value is UNSET or (value is None and names.is_optional_none(wire_name)):
                continue
            tree[wire_name] = dump(value)
        if isinstance(self._body, StructShape):
            for f in self._body.fields:
                if f.field.wire not in tree and f.field.make_default is not None:
                    tree[f.field.wire] = dump(f.field.make_default())
        return tree


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


def _wrong_system_field(name: str, own: Any) -> InvalidDocument:
    if own is None:
        what = "This document was read from the database; to copy it, build a new one from its fields."
        text = f"`{name}` is given by the database and can't be inserted. {what}"
    else:
        text = f"`{name}` of a document can't change."
    return InvalidDocument(text, path=f".{name}", code="InvalidDocumentError")
