"""Text on its way to a terminal or a log file: what a terminal would take for a command is shown instead.

Clients choose much of what operators read: what functions log of their arguments, the paths they ask for, documents.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

__all__ = ["harmless", "harmless_json"]

_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]|\r(?!\n)")
"""C0 but tabs and the ends of lines, DEL, C1, and half surrogate pairs, which no terminal can be given."""


def harmless(text: str) -> str:
    """`text` with control characters as `\\x1b`; tabs and newlines stay."""
    return _CONTROL.sub(_escaped, text)


def harmless_json(value: Any) -> str:
    """A value as JSON on one line, other scripts as they are; DEL and C1, which JSON allows as they are, escaped, too."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
