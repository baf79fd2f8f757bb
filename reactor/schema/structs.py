"""`Struct`, `Document` and `Projection`: the classes that users write, and what reactor remembers about their fields.

They are msgspec structs, keyword-only and frozen, whose fields have camelCase wire names. A struct is checked when it
crosses a border (insert, arguments, result), not when it is built.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, Self, TypeVar, overload

import msgspec
from msgspec import NODEFAULT, UNSET, UnsetType
from typing_extensions import dataclass_transform

from reactor.errors import DatabaseError, SchemaError
from reactor.schema.ids import Id
from reactor.schema.naming import camel, identifier_problem, refuse_collisions

__all__ = ["Document", "Field", "Projection", "Struct", "field", "fields_of"]

_T = TypeVar("_T")
_S = TypeVar("_S", bound="Struct")

Absent = Literal["required", "none", "unset", "default"]
"""What a field is in Python when it is absent on the wire: not allowed, None, UNSET, or its default."""

SYSTEM_FIELDS: Final = {"_id": "_id", "_creation_time": "_creationTime"}
"""The two slots of a document: attribute → wire name."""

_SystemName = Literal["id", "creation_time"]
_OWN_MODULE: Final = __name__
_OPTIONS: Final = frozenset({"rename", "eq", "order", "gc", "weakref", "dict", "cache_hash", "repr_omit_defaults"})
_FIXED_OPTIONS: Final = {"frozen": True, "kw_only": True, "omit_defaults": True, "forbid_unknown_fields": True}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a struct class, as far as it is known without its type."""

    name: str
    wire: str
    absent: Absent
    make_default: Callable[[], Any] | None = None


@overload
def field(*, default: _T, name: str | None = None) -> _T: ...
@overload
def field(*, default_factory: Callable[[], _T], name: str | None = None) -> _T: ...
@overload
def field(*, name: str | None = None) -> Any: ...
def field(*, default: Any = NODEFAULT, default_factory: Any = NODEFAULT, name: str | None = None) -> Any:
    """A field with a wire name of its own (`name`) or a default that is made anew for each struct."""
    return _field(default=default, default_factory=default_factory, name=name)


_field: Any = msgspec.field


class _StructMeta(msgspec.StructMeta):
    """Sets what all our structs have in common, and refuses what could not work."""

    def __new__(
        mcls: type[Any], name: str, bases: tuple[type, ...], namespace: dict[str, Any], /, **options: Any
    ) -> Any:
        own = namespace.get("__module__") == _OWN_MODULE
        kind = next(
            (base.__dict__["_reactor_kind"] for base in _mro_of(bases) if "_reactor_kind" in base.__dict__), "struct"
        )
        rename = _rename_of(bases, options)
        if not own:
            _check_options(name, options)
            names = _own_annotation_names(namespace)
            _check_names(name, names, namespace, kind)
            if rename == "camel":
                refuse_collisions([(one, _wire_name(one, namespace, kind)) for one in names], name)
            _prepare_defaults(name, names, namespace)
        settings = {
            **_FIXED_OPTIONS,
            **options,
            "forbid_unknown_fields": kind != "projection",
            "rename": _renamer(kind) if rename == "camel" else None,
        }
        try:
            cls = msgspec.StructMeta.__new__(mcls, name, bases, namespace, **settings)
        except ValueError as error:
            raise SchemaError(f"{name}: {error}", code="NameCollision") from error
        except TypeError as error:
            raise SchemaError(f"{name}: {error}") from error
        cls._reactor_rename = rename
        cls._reactor_fields = _describe(cls)
        if not own:
            _check_wire_names(cls, kind)
            cls._reactor_globals, cls._reactor_locals = _defining_scope()
        return cls


def _mro_of(bases: tuple[type, ...]) -> list[type]:
    return [cls for base in bases for cls in base.__mro__]


def _rename_of(bases: tuple[type, ...], options: dict[str, Any]) -> str | None:
    if "rename" in options:
        if options["rename"] not in (None, "camel"):
            raise SchemaError(
                "`rename` is None (names stay as they are) or left out (camelCase); use field(name=…) for one field."
            )
        return options["rename"]
    for base in _mro_of(bases):
        if "_reactor_rename" in base.__dict__:
            return base.__dict__["_reactor_rename"]
    return "camel"


def _renamer(kind: str) -> Callable[[str], str]:
    if kind != "projection":
        return camel
    system = {"id": "_id", "creation_time": "_creationTime"}
    return lambda name: system.get(name) or camel(name)


def _wire_name(name: str, namespace: dict[str, Any], kind: str) -> str:
    given = getattr(namespace.get(name), "name", None)
    return given if isinstance(given, str) else _renamer(kind)(name)


def _check_options(name: str, options: dict[str, Any]) -> None:
    for option, value in options.items():
        if option not in _OPTIONS and _FIXED_OPTIONS.get(option) is not value:
            raise SchemaError(
                f"{name}: the class option {option}={value!r} does not go with reactor's structs, which are frozen, "
                "keyword-only, refuse unknown fields, and are told apart by their literal fields."
            )


def _own_annotation_names(namespace: dict[str, Any]) -> list[str]:
    if "__annotations__" in namespace:
        return list(namespace["__annotations__"])
    if sys.version_info >= (3, 14):  # annotations are made on demand; a namespace only has the maker
        import annotationlib

        annotate = annotationlib.get_annotate_from_class_namespace(namespace)
        if annotate is not None:
            return list(annotationlib.call_annotate_function(annotate, annotationlib.Format.FORWARDREF))
    return []


def _check_names(cls: str, names: list[str], namespace: dict[str, Any], kind: str) -> None:
    for name in names:
        if name.startswith("_"):
            raise SchemaError(
                f"{cls}.{name}: names with a leading underscore are reserved; write `{name.strip('_') or 'name'}`."
            )
    if kind != "document":
        return
    for name in ("id", "creation_time"):
        if name in names or name in namespace:
            wire = camel(name)
            raise SchemaError(
                f"{cls}.{name} is reserved: every document has it, from the database. For a field of your own that is "
                f'called "{wire}" there, write for example `account_{name}: float = field(name="{wire}")`.',
                code="ReservedFieldName",
            )


def _prepare_defaults(cls: str, names: list[str], namespace: dict[str, Any]) -> None:
    """Turn every default but None and UNSET into a factory: then leaving out defaults leaves out exactly those two."""
    for name in names:
        if name not in namespace:
            continue
        default = namespace[name]
        if isinstance(default, (property, staticmethod, classmethod)) or hasattr(default, "__get__"):
            raise SchemaError(f"{cls}.{name}: a field's default can't be a {type(default).__name__}.")
        wire, factory = None, NODEFAULT
        if isinstance(default, msgspec._core.Field):  # pyright: ignore[reportAttributeAccessIssue]
            wire, factory, default = default.name, default.default_factory, default.default
        if default is NODEFAULT and factory is NODEFAULT:
            continue
        if default is None or default is UNSET:
            namespace[name] = msgspec.field(default=default, name=wire)
            continue
        namespace[name] = msgspec.field(default_factory=_factory(default, factory), name=wire)


def _factory(default: Any, factory: Any) -> Callable[[], Any]:
    if factory is not NODEFAULT:
        return lambda: factory()  # not the factory itself: msgspec would leave out an empty list
    if isinstance(default, (list, dict)):
        return lambda: copy.deepcopy(default)
    return lambda: default


def _describe(cls: Any) -> tuple[Field, ...]:
    names, wires, defaults = cls.__struct_fields__, cls.__struct_encode_fields__, cls.__struct_defaults__
    defaults = (NODEFAULT,) * (len(names) - len(defaults)) + defaults
    return tuple(_describe_one(*entry) for entry in zip(names, wires, defaults, strict=True))


def _describe_one(name: str, wire: str, default: Any) -> Field:
    if default is NODEFAULT:
        return Field(name, wire, "required")
    if default is None:
        return Field(name, wire, "none")
    if default is UNSET:
        return Field(name, wire, "unset")
    return Field(name, wire, "default", default.factory)


def _check_wire_names(cls: Any, kind: str) -> None:
    refuse_collisions([(f.name, f.wire) for f in cls._reactor_fields], cls.__qualname__)
    for f in cls._reactor_fields:
        problem = identifier_problem(f.wire)
        if problem is not None:
            raise SchemaError(f"{cls.__qualname__}.{f.name}: {problem}")
        if kind == "document" and f.wire.startswith("_") and f.name not in SYSTEM_FIELDS:
            raise SchemaError(
                f"{cls.__qualname__}.{f.name}: Field {f.wire!r} starts with an underscore, which is only allowed for "
                "system fields like '_id'",
                code="ReservedFieldName",
            )


def _defining_scope() -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The names that a class being defined can use in its annotations: those of its module, and of the function around it."""
    frame = sys._getframe(2)
    if frame.f_code.co_name.startswith("<generic parameters") and frame.f_back is not None:
        frame = frame.f_back  # Python 3.12 runs `class Page[T]` inside a function of its own
    if frame.f_locals is frame.f_globals or frame.f_code.co_name == "<module>":
        return frame.f_globals, None
    return frame.f_globals, dict(frame.f_locals)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Struct(msgspec.Struct, metaclass=_StructMeta, frozen=True, kw_only=True):
    """A nested object, arguments or a result: keyword-only, frozen, camelCase on the wire, no unknown fields.

    `T | None = None` is a field that may be absent. Build a changed copy with `msgspec.structs.replace`.
    """

    _reactor_kind: ClassVar[str] = "struct"
    _reactor_fields: ClassVar[tuple[Field, ...]]
    _reactor_rename: ClassVar[str | None]
    _reactor_globals: ClassVar[dict[str, Any] | None] = None
    _reactor_locals: ClassVar[dict[str, Any] | None] = None
    _reactor_shape: ClassVar[Any] = None
    _reactor_codecs: ClassVar[Any] = None
    _reactor_place: ClassVar[str] = "{}.{}"

    def __repr__(self) -> str:
        shown = []
        for f in type(self)._reactor_fields:
            value = getattr(self, f.name)
            if value is not UNSET:
                shown.append(f"{f.name.removeprefix('_')}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"


class Document(Struct):
    """A row of a table. The database gives it `id` and `creation_time`; until then reading them raises DatabaseError."""

    _reactor_kind: ClassVar[str] = "document"

    if not TYPE_CHECKING:
        _id: str | UnsetType = msgspec.field(default=UNSET, name="_id")
        _creation_time: float | UnsetType = msgspec.field(default=UNSET, name="_creationTime")

    @property
    def id(self) -> Id[Self]:
        """The document's id."""
        return self._system_field("_id", "id")

    @property
    def creation_time(self) -> float:
        """When the document was inserted, in milliseconds since the epoch, unique within its table."""
        return self._system_field("_creation_time", "creation time")

    def _system_field(self, slot: str, what: str) -> Any:
        value = getattr(self, slot)
        if value is UNSET:
            raise DatabaseError(f"this {type(self).__name__} was not read from the database: it has no {what} yet")
        return value

    def extend(self, wider: type[_S], /, **more: Any) -> _S:
        """A wider struct with this document's fields and `more`: `message.extend(MessageWithAuthor, author=user)`."""
        values = dict(more)
        for f in fields_of(wider):
            if f.name in values:
                continue
            own = {"_id": "id", "_creationTime": "creation_time"}.get(f.wire, f.name)
            if f.name in SYSTEM_FIELDS:
                own = f.name
            if hasattr(type(self), own):
                values[f.name] = getattr(self, own)
        try:
            return wider(**values)
        except TypeError as error:
            raise SchemaError(f"{type(self).__name__}.extend({wider.__name__}): {error}") from error


class Projection(Struct):
    """Some of a table's fields, for `ctx.db.query(T).select(P)`: a struct that ignores all others.

    `id` and `creation_time` are the document's own.
    """

    _reactor_kind: ClassVar[str] = "projection"


def fields_of(cls: type[Struct]) -> tuple[Field, ...]:
    """The fields of a struct class in order, a document's two system slots first. Needs no types."""
    return cls._reactor_fields
