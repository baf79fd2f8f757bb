"""Tracebacks as operators read them: from where the app's code begins."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

__all__ = ["format_error"]

_PACKAGE = str(Path(__file__).parents[1]) + os.sep


def format_error(error: BaseException) -> str:
    """A traceback without the frames that led from us to the app's code; whole when none of it is the app's."""
    told = traceback.TracebackException.from_exception(error, compact=True)
    part: traceback.TracebackException | None = told
    while part is not None:
        first = next((n for n, frame in enumerate(part.stack) if not frame.filename.startswith(_PACKAGE)), None)
        if first:
            del part.stack[:first]
        part = part.__cause__ or part.__context__
    return "".join(told.format()).rstrip()
