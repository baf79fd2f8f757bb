"""What documents look like, judged by some of them: the shape that fits all values seen at each place. Pure.

Shapes are those of Convex's tools: `{"type": "Object", "fields": [{"fieldName", "optional", "shape"}]}`, `{"type": "Union",
"shapes": […]}`, `{"type": "Id", "tableName"}` and so on; `Never` where no value was seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

from reactor.schema.naming import identifier_problem
from reactor.values.ids import table_number_of
from reactor.values.types import Int64

__all__ = ["Resolver", "Shape", "shape_of"]

Shape = dict[str, Any]
Resolver = Callable[[int], str | None]
"""Table number → name."""

OBJECT_MAX_FIELDS: Final = 64
"""Objects with more names between them are taken for records."""

_STRING: Final[Shape] = {"type": "String"}


def shape_of(values: Sequence[Any], resolve: Resolver) -> Shape:
    """The shape that fits all of these values."""
    kinds: dict[str, list[Any]] = {}
    for value in values:
        kinds.setdefault(_kind(value), []).append(value)
    shapes = [shape for kind in sorted(kinds) for shape in _shapes(kind, kinds[kind], resolve)]
    return _union(shapes)


def _union(shapes: list[Shape]) -> Shape:
    if not shapes:
        return {"type": "Never"}
    return shapes[0] if len(shapes) == 1 else {"type": "Union", "shapes": shapes}


def _kind(value: Any) -> str:
    match value:
        case None:
            return "Null"
        case bool():
            return "Boolean"
        case Int64():
            return "Int64"
        case int() | float():
            return "Float64"
        case str():
            return "String"
        case bytes():
            return "Bytes"
        case list():
            return "Array"
    return "Object"


def _shapes(kind: str, values: list[Any], resolve: Resolver) -> list[Shape]:
    if kind == "Float64":
        special = any(isinstance(v, float) and (not math.isfinite(v) or str(v) == "-0.0") for v in values)
        return [{"type": kind, "float64Range": {"hasSpecialValues": special}}]
    if kind == "String":
        return _strings(values, resolve)
    if kind == "Array":
        return [{"type": kind, "shape": shape_of([item for value in values for item in value], resolve)}]
    if kind == "Object":
        return [_object(values, resolve)]
    return [{"type": kind}]


def _strings(values: list[str], resolve: Resolver) -> list[Shape]:
    tables: set[str] = set()
    for value in values:
        number = table_number_of(value)
        table = None if number is None else resolve(number)
        if table is None:
            return [_STRING]
        tables.add(table)
    return [{"type": "Id", "tableName": table} for table in sorted(tables)]


def _object(values: list[dict[str, Any]], resolve: Resolver) -> Shape:
    by_name: dict[str, list[Any]] = {}
    for value in values:
        for name, item in value.items():
            by_name.setdefault(name, []).append(item)
    if len(by_name) > OBJECT_MAX_FIELDS or any(identifier_problem(name) for name in by_name):
        items = [item for found in by_name.values() for item in found]
        return {
            "type": "Record",
            "keyShape": _union(_strings(list(by_name), resolve)),
            "valueShape": {"optional": False, "shape": shape_of(items, resolve)},
        }
    fields = [
        {"fieldName": name, "optional": len(by_name[name]) < len(values), "shape": shape_of(by_name[name], resolve)}
        for name in sorted(by_name)
    ]
    return {"type": "Object", "fields": fields}
