"""Values as error messages show them: `{a: 1.0, b: "x"}`, cut where they get long."""

from __future__ import annotations

import json
from typing import Any, Final

from reactor.values.types import Int64

__all__ = ["render_value"]

_MAX_CHARS: Final = 1_000
"""An error about a large value must not be large itself."""
_FLOATS: Final = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def render_value(value: Any) -> str:
    """How messages write a value: floats with a point, Int64 as bare digits, strings quoted, bytes by their length."""
    parts: list[str] = []
    budget = _render(value, parts, _MAX_CHARS)
    if budget <= 0:
        parts.append("…")
    return "".join(parts)


def _render(value: Any, parts: list[str], budget: int) -> int:
    if budget <= 0:
        return 0
    if isinstance(value, dict):
        return _render_items(value.items(), "{", "}", parts, budget)
    if isinstance(value, list):
        return _render_items(((None, item) for item in value), "[", "]", parts, budget)
    text = _scalar(value)
    if len(text) > budget:
        text = text[:budget]
    parts.append(text)
    return budget - len(text)


def _render_items(items: Any, opening: str, closing: str, parts: list[str], budget: int) -> int:
    parts.append(opening)
    separator = ""
    for key, item in items:
        head = separator if key is None else f"{separator}{key}: "
        parts.append(head)
        budget = _render(item, parts, budget - len(head))
        if budget <= 0:
            return 0
        separator = ", "
    parts.append(closing)
    return budget


def _scalar(value: Any) -> str:
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, Int64):
        return str(int(value))
    if isinstance(value, int) and abs(value) > 2**53:
        return str(value)
    if isinstance(value, (int, float)):
        return _FLOATS.get(text := repr(float(value)), text)
    if isinstance(value, str):
        return json.dumps(value[: _MAX_CHARS + 1], ensure_ascii=False)
    if isinstance(value, bytes):
        return f"bytes({len(value)})"
    return f"<{type(value).__name__}>"
