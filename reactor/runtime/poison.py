"""Remembers which mutation was running when the process died, so that one which kills the server is not run for ever.

Clients resend what was not answered, and a supervised server starts again: without this, a mutation that crashes the
process (out of memory, a C call that hangs) would do so until somebody intervenes. Its id stands in a memory-mapped file
while it runs; the file outlives the process, and that costs no system call (engine.md rule 20).
"""

from __future__ import annotations

import logging
import mmap
import os
from pathlib import Path
from typing import Final

import msgspec

from reactor.errors import FunctionError

__all__ = ["PoisonGuard"]

logger = logging.getLogger("reactor.runtime")

FILE: Final = "running"
DEATHS: Final = 2
"""So often a mutation may have been running when the process died. Once may be bad luck."""
SUSPECTS_MAX: Final = 64

_MARK_BYTES: Final = 256
_FILE_BYTES: Final = 64 * 1024


class PoisonGuard:
    """One per data directory, which must be locked. `enter` and `leave` belong to the writer's thread."""

    def __init__(self, directory: Path) -> None:
        descriptor = os.open(directory / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _FILE_BYTES)
            self._map = mmap.mmap(descriptor, _FILE_BYTES)
        finally:
            os.close(descriptor)
        self._deaths = self._read_deaths()
        """How often each mutation was found running at a start."""
        if self._map[0]:
            mutation = self._map[1 : 1 + self._map[0]].decode("utf-8", "replace")
            self._deaths[mutation] = self._deaths.pop(mutation, 0) + 1
            self._write_deaths()
        self.leave()

    def enter(self, session: str, request: int) -> None:
        """The mutation begins. Raises FunctionError when it has ended the process too often."""
        mutation = _name(session, request)
        if self._deaths and self._deaths.get(mutation, 0) >= DEATHS:
            logger.error(
                "mutation %s was running each of the %d times that the server died: it is refused",
                mutation,
                self._deaths[mutation],
            )
            raise FunctionError(
                "This mutation was running each time the server died, so it is not run again.", code="PoisonedMutation"
            )
        mark = mutation.encode("utf-8", "surrogatepass")[: _MARK_BYTES - 1]
        self._map[1 : 1 + len(mark)] = mark
        self._map[0] = len(mark)  # last: until then there is no mark

    def leave(self) -> None:
        """It has ended, whatever came of it."""
        self._map[0] = 0

    def survived(self, session: str, request: int) -> None:
        """It ended without ending the process: it is no longer under suspicion."""
        if self._deaths and self._deaths.pop(_name(session, request), None) is not None:
            self._write_deaths()

    def close(self) -> None:
        self._map.close()

    def _read_deaths(self) -> dict[str, int]:
        length = int.from_bytes(self._map[_MARK_BYTES : _MARK_BYTES + 4], "little")
        start = _MARK_BYTES + 4
        try:
            return msgspec.json.decode(self._map[start : start + length], type=dict[str, int]) if length else {}
        except msgspec.MsgspecError:
            return {}  # the process died while writing it

    def _write_deaths(self) -> None:
        while len(self._deaths) > SUSPECTS_MAX:
            del self._deaths[next(iter(self._deaths))]
        data = msgspec.json.encode(self._deaths)
        start = _MARK_BYTES + 4
        self._map[_MARK_BYTES:start] = len(data).to_bytes(4, "little")
        self._map[start : start + len(data)] = data


def _name(session: str, request: int) -> str:
    # What fits the mark whole, so that it is found again: sessions are UUIDs, but nobody promised.
    return f"{request}|{session[:60]}"
