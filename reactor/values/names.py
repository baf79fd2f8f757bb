"""What a field of an object may be called."""

from __future__ import annotations

from typing import Any, Final

from reactor.errors import InvalidValue
from reactor.limits import FIELD_NAME_MAX_BYTES

__all__ = ["check_field_name", "known_names", "shorten"]

known_names: Final[set[str]] = set()
"""Field names found good, a bounded number of them: a look here spares the check, as most names are seen again and again."""
_KNOWN_NAMES_MAX: Final = 8192


def check_field_name(name: Any) -> None:
    """Raise InvalidValue unless `name` may be a field of an object: printable ASCII, no `$` in front, 1024 at most."""
    if not isinstance(name, str):
        raise InvalidValue(
            f"Field names must be strings, not {type(name).__name__}.",
            expected="string",
            got=type(name).__name__,
        )
    if name[:1] == "$":
        raise InvalidValue(f"Field name {shorten(name)} starts with '$', which is reserved.", code="InvalidFieldName")
    if not (name.isascii() and name.isprintable()):
        bad = next(char for char in name if not " " <= char <= "~")
        raise InvalidValue(
            f"Field name {shorten(name)} has invalid character {_shown(bad)}: "
            "Field names can only contain non-control ASCII characters",
            code="InvalidFieldName",
        )
    if len(name) > FIELD_NAME_MAX_BYTES:
        raise InvalidValue(
            f"Field name is too long ({len(name)} > maximum {FIELD_NAME_MAX_BYTES})", code="InvalidFieldName"
        )
    if len(name) <= 64 and type(name) is str:
        if len(known_names) >= _KNOWN_NAMES_MAX:
            known_names.clear()
        known_names.add(name)


def _shown(char: str) -> str:
    return f"'{char}'" if char.isprintable() else repr(char)  # repr escapes control characters and lone surrogates


def shorten(name: str) -> str:
    """The name for an error text: its first 80 characters, control characters escaped."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in name[:80])
