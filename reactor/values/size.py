"""How large and how deep a value is, by the accounting that all limits use; the limits of documents; the errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from reactor.errors import InvalidValue
from reactor.limits import (
    ARRAY_MAX_ELEMENTS,
    DOCUMENT_MAX_BYTES,
    DOCUMENT_MAX_NESTING,
    OBJECT_MAX_FIELDS,
    VALUE_MAX_NESTING,
)
from reactor.values.types import Int64, plain

__all__ = [
    "check_document_limits",
    "human_bytes",
    "nesting_of",
    "size_of",
    "too_large",
    "too_long",
    "too_many",
    "too_nested",
]

# Wire JSON of this length can't be too large: `1,` is two bytes and counts for nine, and nothing grows by more.
_SURELY_SMALL: Final = DOCUMENT_MAX_BYTES // 5


def size_of(value: Any) -> int:
    """Bytes that `value` counts for: null and booleans 1, numbers 9, strings and bytes 2 + length, arrays 2 + elements,
    objects 2 + (name + 1 + value) for each field."""
    kind = type(value)
    if kind is str:
        return 2 + (len(value) if value.isascii() else len(value.encode("utf-8", "surrogatepass")))
    if kind is int or kind is float or kind is Int64:
        return 9
    if value is None or kind is bool:
        return 1
    if kind is dict:
        total = 2 + len(value)
        for name, item in value.items():
            kind = type(item)
            if name.isascii():
                total += len(name)
            else:
                total += len(name.encode("utf-8", "surrogatepass"))
            if kind is str and item.isascii():
                total += 2 + len(item)
            elif kind is int or kind is float:
                total += 9
            else:
                total += size_of(item)
        return total
    if kind is list:
        return 2 + sum(map(size_of, value))
    if kind is bytes:
        return 2 + len(value)
    if (inner := plain(value)) is not NotImplemented:
        return size_of(inner)
    raise InvalidValue(f"{kind.__name__} is not a supported value.", got=kind.__name__)


def nesting_of(value: Any) -> int:
    """How many levels of arrays and objects: 0 for anything else, 1 for `[]` and `{}`."""
    if isinstance(value, dict):
        children: Any = value.values()
    elif isinstance(value, list):
        children = value
    else:
        return 0
    deepest = 0
    for child in children:
        kind = type(child)
        if kind is str or kind is int or kind is float or child is None or kind is bool:
            continue
        if (depth := nesting_of(child)) > deepest:
            deepest = depth
    return deepest + 1


def human_bytes(count: int) -> str:
    """`1 MiB`, `1.25 MiB`, `12 B`: sizes as error texts show them."""
    if count < 1024:
        return f"{count} B"
    size, unit = (count / 1024, "KiB") if count < 1024**2 else (count / 1024**2, "MiB")
    return f"{size:.2f}".rstrip("0").rstrip(".") + f" {unit}"


def too_large(size: int, maximum: int) -> InvalidValue:
    """The error for a value of `size` bytes where `maximum` are allowed."""
    shown, limit = human_bytes(size), human_bytes(maximum)
    if shown == limit:  # a little too large must not read "1 MiB > 1 MiB"
        shown = f"{size} B"
    return InvalidValue(
        f"Value is too large ({shown} > maximum size {limit})",
        code="ValueTooLargeError",
        expected=f"at most {maximum} bytes",
        got=f"{size} bytes",
    )


def too_nested() -> InvalidValue:
    """The error for a value of more than 64 levels; the first that is too deep is always the 65th."""
    return InvalidValue(
        f"Value is too nested (nested {VALUE_MAX_NESTING + 1} levels deep > maximum nesting {VALUE_MAX_NESTING})",
        code="TooNestedError",
        expected=f"at most {VALUE_MAX_NESTING} levels",
    )


def too_long(length: int) -> InvalidValue:
    """The error for an array of `length` elements."""
    return InvalidValue(
        f"Array length is too long ({length} > maximum length {ARRAY_MAX_ELEMENTS})",
        code="ArrayTooLong",
        expected=f"at most {ARRAY_MAX_ELEMENTS} elements",
        got=f"{length} elements",
    )


def too_many(count: int) -> InvalidValue:
    """The error for an object of `count` fields."""
    return InvalidValue(
        f"Object has too many fields ({count} > maximum number {OBJECT_MAX_FIELDS})",
        code="TooManyFieldsError",
        expected=f"at most {OBJECT_MAX_FIELDS} fields",
        got=f"{count} fields",
    )


def check_document_limits(doc: dict[str, Any], body: bytes | None = None, changed: Iterable[str] | None = None) -> None:
    """Raise InvalidValue unless `doc`, a whole document with its system fields, may be stored: size, nesting, and
    underscores left to the system.

    With `body`, the document's wire JSON, most documents are known to be small and flat without a walk. With `changed`,
    only those names are looked at.
    """
    for name in doc if changed is None else changed:
        if name[:1] == "_" and name != "_id" and name != "_creationTime":
            raise InvalidValue(
                f"Field '{name}' starts with an underscore, which is only allowed for system fields like '_id'",
                path=f".{name}",
                code="InvalidDocumentError",
            )
    if body is not None and len(body) < _SURELY_SMALL and body.count(b"{") + body.count(b"[") <= DOCUMENT_MAX_NESTING:
        return
    size = size_of(doc)
    if size > DOCUMENT_MAX_BYTES:
        raise too_large(size, DOCUMENT_MAX_BYTES)
    depth = nesting_of(doc)
    if depth > DOCUMENT_MAX_NESTING:
        raise InvalidValue(
            f"Document is too nested (nested {depth} levels deep > maximum nesting {DOCUMENT_MAX_NESTING})",
            code="TooNestedError",
            expected=f"at most {DOCUMENT_MAX_NESTING} levels",
            got=f"{depth} levels",
        )
