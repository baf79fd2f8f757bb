"""Values as people read them in a terminal, from the encoded form of the wire."""

from __future__ import annotations

import json
from typing import Any

from reactor.cli.terminal_text import harmless
from reactor.values import wire
from reactor.values.types import Int64

__all__ = ["shown", "shown_cell"]


def shown(encoded: Any) -> str:
    """A value as indented text: JSON where it has a JSON form, `7n` for an Int64, `Bytes("…")` for bytes."""
    return harmless(_text(wire.from_json(encoded), ""))


def shown_cell(encoded: Any, width: int) -> str:
    """A value on one line, strings without quotes, cut at `width` characters."""
    value = wire.from_json(encoded)
    text = value if isinstance(value, str) else _line(value)
    text = harmless(text.replace("\n", "⏎").replace("\t", " "))
    return text if len(text) <= width else text[: width - 1] + "…"


def _line(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name, ensure_ascii=False)}: {_line(v)}" for name, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_line, value)) + "]"
    return _scalar(value)


def _text(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(name, ensure_ascii=False)}: {_text(v, inner)}" for name, v in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(inner + _text(item, inner) for item in value) + f"\n{indent}]"
    return _line(value)


def _scalar(value: Any) -> str:
    if isinstance(value, Int64):
        return f"{int(value)}n"
    if isinstance(value, bytes):
        return f'Bytes("{wire.to_json(value)["$bytes"]}")'
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 and repr(value) != "-0.0":
        return str(int(value))
    return json.dumps(value, ensure_ascii=False)
