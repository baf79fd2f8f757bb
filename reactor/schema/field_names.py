"""How the fields of one table may be called, and which of them take None for absence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from reactor.schema.naming import camel
from reactor.schema.shapes import Shape, ValidatorShape
from reactor.schema.struct_shapes import FieldShape, StructShape, UnionShape
from reactor.schema.toplevel import SYSTEM_WIRE_NAMES, field_names, is_open

__all__ = ["FieldNames"]

_SYSTEM_NAMES: Final = {"id": "_id", "creation_time": "_creationTime"}


class FieldNames:
    """The fields of a table, from the shape of its documents without their system fields."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._open = is_open(shape.validator)
        """Whether any field may be there, so that no name is unknown."""
        fields = _fields(shape)
        self.of_class: dict[Any, str] = {f.field.name: f.field.wire for f in fields}
        """Python name and wire name → wire name, of the fields of struct classes. A Python name wins."""
        for f in fields:
            self.of_class.setdefault(f.field.wire, f.field.wire)
        self.wire_names = dict(self.of_class)
        """The same, with the fields of explicit validators, which have one name only."""
        if isinstance(shape, ValidatorShape):
            self.wire_names.update({name: name for name in field_names(shape.validator)})
        self._absent = {f.field.wire: f.field.absent for f in fields}

    @property
    def all_fields(self) -> tuple[str, ...]:
        """The wire names of all fields, `_id` and `_creationTime` last."""
        return (*dict.fromkeys(self.wire_names.values()), *SYSTEM_WIRE_NAMES)

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every name that is taken as it is."""
        return (*self.wire_names, *_SYSTEM_NAMES)

    def path(self, name: str) -> str | None:
        """The wire name, or dotted wire path, of a field called by Python name, wire name or snake_case; None if unknown."""
        first, *rest = name.split(".")
        found = self._first(first)
        if found is None or not rest:
            return found
        inner = [f.shape for f in _fields(self._shape) if f.field.wire == found]
        return ".".join([found, *_nested(inner, rest)])

    def index_path(self, name: str) -> str:
        """Like `path`, but an unknown name stays as it is: the rules of indexes decide about it."""
        return self.path(name) or name

    def _first(self, name: str) -> str | None:
        for spelling in (name, camel(name)):
            if spelling in self.wire_names:
                return self.wire_names[spelling]
        if name in SYSTEM_WIRE_NAMES:
            return name
        return _SYSTEM_NAMES.get(name, name if self._open else None)

    def is_optional_none(self, wire_path: str) -> bool:
        """Whether None means absent at this path: the field's default is None."""
        if "." not in wire_path:
            return self._absent.get(wire_path) == "none"
        *outer, last = wire_path.split(".")
        shapes = [self._shape]
        for part in outer:
            shapes = [f.shape for shape in shapes for f in _fields(shape) if f.field.wire == part]
        found = [f for shape in shapes for f in _fields(shape) if f.field.wire == last]
        return bool(found) and all(f.field.absent == "none" for f in found)


def _fields(shape: Shape) -> tuple[FieldShape, ...]:
    if isinstance(shape, StructShape):
        return shape.fields
    if isinstance(shape, UnionShape):
        return tuple(f for member in shape.members for f in _fields(member))
    return ()


def _nested(shapes: Sequence[Shape], parts: Sequence[str]) -> list[str]:
    """The wire names of a path inside nested structs; what is not a struct keeps its names."""
    if not parts:
        return []
    first, *rest = parts
    for shape in shapes:
        for f in _fields(shape):
            if first in (f.field.wire, f.field.name):
                return [f.field.wire, *_nested([f.shape], rest)]
    return [first, *rest]
