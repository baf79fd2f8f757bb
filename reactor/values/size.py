"""How large and how deep a value is, by the accounting that all limits use; and the limits of a stored document."""

from __future__ import annotations

from typing import Any

from reactor.errors import InvalidValue
from reactor.limits import DOCUMENT_MAX_BYTES, DOCUMENT_MAX_NESTING
from reactor.values.types import Int64, plain

__all__ = ["check_document_limits", "human_bytes", "nesting_of", "size_of", "too_large"]


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
            total += (len(name) if name.isascii() else len(name.encode("utf-8", "surrogatepass"))) + size_of(item)
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
        if isinstance(child, (dict, list)) and (depth := nesting_of(child)) > deepest:
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


def check_document_limits(doc: dict[str, Any]) -> None:
    """Raise InvalidValue unless `doc`, a whole document with its system fields, may be stored: size, nesting, and
    underscores left to the system."""
    for name in doc:
        if name[:1] == "_" and name != "_id" and name != "_creationTime":
            raise InvalidValue(
                f"Field '{name}' starts with an underscore, which is only allowed for system fields like '_id'",
                path=f".{name}",
                code="InvalidDocumentError",
            )
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
