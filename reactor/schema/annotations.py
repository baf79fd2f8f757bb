"""Annotations → shapes, with an error that says what to write for every annotation that has no meaning here.

A `TypeReader` belongs to one schema, because `Id[Project]` means the table that the class has *there*. Reading a struct
class for the first time also seals it: its annotations become what msgspec's decoders need.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, TypeVar, get_args, get_origin

import msgspec
import typing_extensions
from msgspec import UNSET, UnsetType

from reactor.errors import SchemaError
from reactor.schema.generics import substitute, type_parameters
from reactor.schema.hints import Scope, UnresolvedName, evaluate, own_hints, scope_of_class
from reactor.schema.ids import IdMarker, WithoutSystemFields
from reactor.schema.literals import LiteralShape, check_choices, enum_shape, literal_shape
from reactor.schema.refusals import refused, type_name
from reactor.schema.shapes import (
    AnyShape,
    BooleanShape,
    BytesShape,
    FloatShape,
    IdShape,
    Int64Shape,
    IntShape,
    ListShape,
    MappingShape,
    NullShape,
    NumberShape,
    RecordShape,
    Shape,
    StringShape,
    TypeVarShape,
    ValidatorShape,
)
from reactor.schema.struct_shapes import FieldShape, StructShape, UnionShape, fields_guard, with_unset
from reactor.schema.structs import SYSTEM_FIELDS, Document, Field, Projection, Struct, fields_of
from reactor.schema.validators import Validator
from reactor.values.types import Int64

__all__ = ["TableNames", "TypeReader"]

TableNames = Callable[[Any], "str | None"]
"""The table of a document class, or of the class with this name; None when the schema has no such table."""

_SIMPLE: Final[dict[Any, type[Shape]]] = {
    str: StringShape,
    bool: BooleanShape,
    int: IntShape,
    float: FloatShape,
    bytes: BytesShape,
    None: NullShape,
    type(None): NullShape,
    Any: AnyShape,
    Int64: Int64Shape,
}


class TypeReader:
    """Reads annotations for one schema. `names` are classes that string annotations may name without importing them."""

    def __init__(self, table_of: TableNames, names: Mapping[str, Any] | None = None) -> None:
        self._table_of = table_of
        self._names = names or {}
        self._structs: dict[tuple[Any, bool], StructShape] = {}
        self._reading: list[type] = []

    # --- entry points ----------------------------------------------------------------------------------------------

    def read(self, annotation: Any, scope: Scope) -> Shape:
        """The shape of an annotation as written. Raises SchemaError (UnresolvedName for undefined names)."""
        return self.shape(self.evaluate(annotation, scope), scope)

    def evaluate(self, annotation: Any, scope: Scope) -> Any:
        """An annotation with its strings resolved. Raises UnresolvedName."""
        return evaluate(annotation, scope, self._names)

    def struct(self, cls: type[Struct], *, system_fields: bool = True) -> StructShape:
        """The shape of a struct class; for a document, with or without `_id` and `_creationTime`."""
        return self._struct(cls, (), scope_of_class(cls), system_fields)

    def shape(self, hint: Any, scope: Scope) -> Shape:
        """The shape of an evaluated annotation."""
        simple = _SIMPLE.get(hint) if _hashable(hint) else None
        if simple is not None:
            return simple()
        if isinstance(hint, Validator):
            return ValidatorShape(hint)
        if isinstance(hint, TypeVar):
            return TypeVarShape(hint)
        origin = get_origin(hint)
        if origin is Annotated:
            return self._annotated(hint, scope)
        if origin in (typing.Union, types.UnionType):
            return self._union(get_args(hint), scope)
        if origin in (Literal, typing_extensions.Literal):
            return self._literal(get_args(hint), scope)
        if origin is list and get_args(hint):
            return ListShape(self.shape(get_args(hint)[0], scope))
        if origin is dict and get_args(hint):
            return self._record(get_args(hint), scope)
        if isinstance(hint, type) and origin is None:
            return self._class(hint, scope)
        if isinstance(origin, type) and issubclass(origin, Struct):
            return self._struct(origin, get_args(hint), scope, True)
        if hasattr(hint, "__supertype__"):  # NewType
            return self.shape(hint.__supertype__, scope)
        if hasattr(hint, "__value__"):  # type X = …
            value = hint.__value__ if origin is None else typing.cast("Any", origin).__value__[get_args(hint)]
            return self.shape(value, scope)
        raise refused(hint, scope)

    # --- one kind each ---------------------------------------------------------------------------------------------

    def _annotated(self, hint: Any, scope: Scope) -> Shape:
        inner, *metadata = get_args(hint)
        for mark in metadata:
            if isinstance(mark, IdMarker):
                return IdShape(self._id_table(mark.target, scope))
            if isinstance(mark, WithoutSystemFields):
                return self._fields_of(inner, scope)
            if isinstance(mark, msgspec.Meta):
                raise SchemaError(
                    f"{scope.where}: msgspec.Meta constraints are not checked here; check in the function."
                )
            if isinstance(mark, Validator):
                return ValidatorShape(mark)
        return self.shape(inner, scope)

    def _fields_of(self, inner: Any, scope: Scope) -> Shape:
        if get_origin(inner) in (typing.Union, types.UnionType):
            return UnionShape([self._fields_of(member, scope) for member in get_args(inner)])
        if not (isinstance(inner, type) and issubclass(inner, Document)):
            raise SchemaError(f"{scope.where}: Fields[…] takes a Document class, not {type_name(inner)}.")
        return self._struct(inner, (), scope, False)

    def _id_table(self, target: Any, scope: Scope) -> str:
        if isinstance(target, typing.ForwardRef):
            target = target.__forward_arg__
        if isinstance(target, str):
            found = self._named(target, scope)
        else:
            found = target
        if isinstance(found, TypeVar):
            raise SchemaError(
                f"{scope.where}: Id[{found.__name__}] does not say of which table; name a Document class."
            )
        if get_origin(found) in (typing.Union, types.UnionType):
            tables = {self._table_of(member) for member in get_args(found)}
            table = tables.pop() if len(tables) == 1 else None
        else:
            if not (isinstance(found, type) and issubclass(found, Document)):
                raise SchemaError(f"{scope.where}: Id[…] takes a Document class, not {type_name(found)}.")
            table = self._table_of(found)
        if table is None:
            raise SchemaError(
                f"{scope.where}: Id[{type_name(found)}]: no table of this schema has the class {type_name(found)}; "
                f"add it to define_schema(…) with define_table({type_name(found)}).",
                code="UnknownTable",
            )
        return table

    def _named(self, name: str, scope: Scope) -> Any:
        try:
            return evaluate(name, scope, self._names)
        except UnresolvedName as error:
            raise UnresolvedName(
                f"{scope.where}: Id[\"{name}\"]: there is no class {name} here (Id takes the document's class, not the table's name)."
            ) from error

    def _union(self, members: tuple[Any, ...], scope: Scope) -> Shape:
        if UnsetType in members:
            raise SchemaError(
                f"{scope.where}: a field that may be UNSET needs the default UNSET: `… | UnsetType = UNSET`."
            )
        kept = [member for member in members if member not in (int, float)] if {int, float} <= set(members) else members
        shapes = [self.shape(member, scope) for member in kept]
        if len(kept) != len(members):
            shapes.insert(0, NumberShape())
        if len(shapes) == 1:
            return shapes[0]
        return UnionShape(shapes)

    def _literal(self, choices: tuple[Any, ...], scope: Scope) -> Shape:
        none = [choice for choice in choices if choice is None]
        some = [choice for choice in choices if choice is not None]
        check_choices(some, scope.where)
        if not some:
            return NullShape()
        return UnionShape([literal_shape(some), NullShape()]) if none else literal_shape(some)

    def _record(self, arguments: tuple[Any, ...], scope: Scope) -> Shape:
        key, value = self.shape(arguments[0], scope), self.shape(arguments[1], scope)
        try:
            shape = RecordShape(key, value)
        except SchemaError as error:
            raise SchemaError(
                f"{scope.where}: the keys of a dict are `str`, `Id[T]` or string literals, not {type_name(arguments[0])}.",
                code=error.code,
            ) from error
        if not (isinstance(key, (StringShape, IdShape)) or (isinstance(key, LiteralShape) and _plain_strings(key))):
            shape.fast = None
        return shape

    def _class(self, cls: type, scope: Scope) -> Shape:
        if issubclass(cls, Struct):
            return self._struct(cls, (), scope, True)
        if issubclass(cls, enum.Enum):
            return enum_shape(cls, scope.where)
        if typing_extensions.is_typeddict(cls):
            return self._typed_dict(cls, scope)
        raise refused(cls, scope)

    def _typed_dict(self, cls: type, scope: Scope) -> Shape:
        inner = scope_of_class(cls).at(cls.__qualname__)
        hints = {name: evaluate(raw, inner, self._names) for name, raw in own_hints(cls).items()}
        fields: dict[str, tuple[Shape, bool]] = {}
        required = getattr(cls, "__required_keys__", frozenset(hints))
        for name, hint in hints.items():
            optional = name not in required
            while get_origin(hint) in (
                typing.Required,
                typing.NotRequired,
                typing_extensions.Required,
                typing_extensions.NotRequired,
                typing_extensions.ReadOnly,
            ):
                if get_origin(hint) in (typing.NotRequired, typing_extensions.NotRequired):
                    optional = True
                elif get_origin(hint) in (typing.Required, typing_extensions.Required):
                    optional = False
                hint = get_args(hint)[0]
            fields[name] = (self.shape(hint, inner.at(f"{cls.__qualname__}.{name}")), optional)
        return MappingShape(fields)

    # --- structs ---------------------------------------------------------------------------------------------------

    def _struct(self, cls: type[Struct], arguments: tuple[Any, ...], scope: Scope, system_fields: bool) -> StructShape:
        if cls in (Struct, Document, Projection):
            raise SchemaError(f"{scope.where}: {cls.__name__} itself has no fields; write a class of your own.")
        is_document = issubclass(cls, Document)
        key = (cls[arguments] if arguments else cls, system_fields and is_document)  # pyright: ignore
        known = self._structs.get(key)
        if known is not None:
            return known
        if cls in self._reading:
            raise SchemaError(
                f"{scope.where}: {cls.__name__} contains itself, which a validator can't say; write `Any`, "
                "or keep the parts as documents of their own.",
                code="RecursiveType",
            )
        self._reading.append(cls)
        try:
            open_fields = self._fields(cls, {})
            fields = open_fields
            generic = any(getattr(base, "__parameters__", ()) for base in cls.__mro__)
            if generic:
                fields = self._fields(cls, type_parameters(cls, arguments))
        finally:
            self._reading.pop()
        self._seal(cls, open_fields)
        fast = self._fast_type(cls, arguments, [*open_fields, *fields], scope)
        shape = self._finish(cls, arguments, fields, fast, is_document, system_fields, scope)
        self._structs[key] = shape
        return shape

    def _fast_type(self, cls: type[Struct], arguments: tuple[Any, ...], fields: list[FieldShape], scope: Scope) -> Any:
        if not any(getattr(base, "__parameters__", ()) for base in cls.__mro__):
            return cls
        if any(f.shape.fast is None for f in fields):
            return None
        parts = tuple(self.shape(argument, scope).fast for argument in arguments)
        # Below a generic class, msgspec would read that one's arguments as they were written, not their fast types.
        below = any(getattr(base, "__parameters__", ()) for base in cls.__mro__[1:])
        return None if not parts or None in parts or below else cls[parts]  # pyright: ignore

    def _finish(
        self,
        cls: type[Struct],
        arguments: tuple[Any, ...],
        fields: list[FieldShape],
        fast: Any,
        is_document: bool,
        system_fields: bool,
        scope: Scope,
    ) -> StructShape:
        if not is_document:
            shape = StructShape(cls, fields, fast=fast, guard=fields_guard(fields))
            if not arguments:
                cls._reactor_shape = shape  # for objects of it in untyped places, which only need names and kinds
            return shape
        if not system_fields:
            return StructShape(cls, fields, fast=fast, guard=fields_guard(fields, absent="_id"))
        table = self._table_of(cls)
        if table is None:
            raise SchemaError(
                f"{scope.where}: no table of this schema has the class {cls.__name__}, so it has no `_id`; add it with "
                f"define_table({cls.__name__}), or make it a Struct, or write Fields[{cls.__name__}].",
                code="UnknownTable",
            )
        system = [
            FieldShape(Field("_id", "_id", "required"), IdShape(table)),
            FieldShape(Field("_creation_time", "_creationTime", "required"), FloatShape()),
        ]
        whole = [*system, *fields]
        guard = fields_guard(whole, present="_creation_time")
        shape = StructShape(cls, whole, fast=fast, guard=_with_id(guard))
        shape.own_guard = fields_guard(fields)
        cls._reactor_shape = shape
        return shape

    def _fields(self, cls: type[Struct], parameters: Mapping[type, Mapping[Any, Any]]) -> list[FieldShape]:
        """All fields but the system ones, with type parameters replaced by `parameters` of the class they come from."""
        sources: dict[str, tuple[type, Any]] = {}
        for base in reversed(cls.__mro__):
            if issubclass(base, Struct) and base not in (Struct, Document, Projection):
                sources.update({name: (base, raw) for name, raw in own_hints(base).items()})
        shapes: list[FieldShape] = []
        for f in fields_of(cls):
            if f.name in SYSTEM_FIELDS:
                continue
            base, raw = sources[f.name]
            scope = scope_of_class(base)
            scope = scope.at(base._reactor_place.format(base.__qualname__, f.name))
            hint = evaluate(raw, scope, self._names)
            hint = substitute(hint, parameters.get(base, {}))
            shapes.append(FieldShape(f, self._field_shape(f, hint, scope)))
        return shapes

    def _seal(self, cls: type[Struct], fields: list[FieldShape]) -> None:
        """Give msgspec the fast types of the fields instead of the annotations, here and in the classes above.

        The original hints stay with the class, for other schemas and for subclasses.
        """
        if "_reactor_hints" in cls.__dict__:
            return
        for base in cls.__mro__[1:]:
            if issubclass(base, Struct) and base not in (Struct, Document, Projection):
                self._seal(base, self._fields(base, {}))
        by_name = {f.field.name: f for f in fields}
        hints = dict(own_hints(cls))
        cls._reactor_hints = hints  # pyright: ignore
        cls.__annotations__ = {
            name: _sealed(by_name[name]) if name in by_name else hint for name, hint in hints.items()
        }

    def _field_shape(self, f: Field, hint: Any, scope: Scope) -> Shape:
        if get_origin(hint) in (typing.Union, types.UnionType):
            members = get_args(hint)
            if f.absent == "none":  # None means absent, so null is not let in; UNSET is as good
                members = tuple(member for member in members if member not in (type(None), UnsetType))
            elif f.absent == "unset":
                members = tuple(member for member in members if member is not UnsetType)
            if not members:
                return NullShape()
            hint = typing.Union[members]  # noqa: UP007
        return self.shape(hint, scope)


def _with_id(guard: Any) -> Any:
    def check(obj: Any, resolve: Any) -> bool:
        return obj._id is not UNSET and guard(obj, resolve)

    return check


def _sealed(f: FieldShape) -> Any:
    fast = f.shape.fast
    if fast is None:
        return msgspec.Raw
    return with_unset(fast) if f.field.absent == "unset" else fast


def _plain_strings(shape: LiteralShape) -> bool:
    return all(type(choice) is str for choice, _ in shape.choices)


def _hashable(hint: Any) -> bool:
    try:
        hash(hint)
    except TypeError:
        return False
    return True
