"""The one rule that turns Python identifiers into wire names. Everything that converts a name uses it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from reactor.errors import SchemaError
from reactor.limits import IDENTIFIER_MAX_CHARS

__all__ = ["camel", "did_you_mean", "identifier_problem", "refuse_collisions"]

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


def camel(name: str) -> str:
    """The wire name of a Python identifier.

    Drops one trailing underscore, splits on `_`, and upper-cases only the first letter of the later parts:
    `list_` → `list`, `user_id` → `userId`, `aws_s3key` → `awsS3key`.
    """
    first, *rest = name.removesuffix("_").split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def identifier_problem(name: str) -> str | None:
    """Why `name` can't name a table, an index or a field of a schema, or None when it can."""
    if not isinstance(name, str) or not name:
        return "Identifier cannot be empty"
    if len(name) > IDENTIFIER_MAX_CHARS:
        return f"Identifier is too long ({len(name)} > maximum {IDENTIFIER_MAX_CHARS})"
    if not _IDENTIFIER.match(name):
        return (
            f"Invalid identifier: {name!r}. Identifiers must start with a letter and can only contain "
            "letters, digits, and underscores"
        )
    if not name.strip("_"):
        return f"Invalid identifier: {name!r}. Identifiers cannot have underscores only"
    return None


def refuse_collisions(names: Iterable[tuple[str, str]], where: str) -> None:
    """Raise SchemaError when two different Python names of `(python, wire)` pairs share a wire name."""
    seen: dict[str, str] = {}
    for python, wire in names:
        other = seen.setdefault(wire, python)
        if other != python:
            raise SchemaError(
                f"{where}: {other!r} and {python!r} are both {wire!r} on the wire. "
                f"Rename one of them, or give it a name of its own with `name=`.",
                code="NameCollision",
            )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or "" when nothing known comes close."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
