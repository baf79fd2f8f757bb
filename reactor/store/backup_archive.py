"""The archive that a backup is: a zip with the database, the stored files, and last a manifest that vouches for both.

Written piece by piece to wherever, so nothing but a piece is held in memory; read only as a whole, since only the manifest,
at its end, says that it is complete. Names in it are ours: `data.sqlite3`, `files/<blob>`, `manifest.json`.
"""

from __future__ import annotations

import errno
import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

from reactor.errors import ReactorError

__all__ = ["DATABASE", "FILES", "ArchiveWriter", "BadBackup", "Manifest", "read_archive"]

DATABASE: Final = "data.sqlite3"
FILES: Final = "files/"
MANIFEST: Final = "manifest.json"
FORMAT: Final = 1
PIECE_BYTES: Final = 1024 * 1024
MANIFEST_MAX_BYTES: Final = 1024 * 1024 * 1024
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The same state gives the same archive, whenever it is written."""


_DAMAGE: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, KeyError, EOFError, NotImplementedError, RuntimeError, ValueError, OSError,
)  # fmt: skip
"""What reading a zip raises that is damaged here or there; an OSError is the disk's, unless it has no number
or says that a position can't be one."""


class BadBackup(ReactorError):
    """The file is no backup, or not the whole of one."""

    code = "BadBackup"


class Entry(msgspec.Struct, frozen=True):
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """`ts` is the commit timestamp that all of it is as of, in nanoseconds; `version` the reactor that wrote it."""

    format: int = FORMAT
    ts: int
    version: str
    entries: dict[str, Entry]


class ArchiveWriter:
    """Collects the bytes of a growing archive; each method returns those that are ready."""

    def __init__(self) -> None:
        self._out = _Drain()
        self._zip = zipfile.ZipFile(self._out, "w", zipfile.ZIP_STORED)
        self._entries: dict[str, Entry] = {}
        self._name = ""
        self._entry: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._size = 0

    def begin(self, name: str, *, compress: bool = False) -> bytes:
        """Start an entry; the one before must have ended."""
        info = zipfile.ZipInfo(name, _EPOCH)
        info.external_attr = 0o600 << 16
        info.compress_type = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
        info._compresslevel = 1  # type: ignore[attr-defined]  # disks are cheap, and clients want the processor
        self._name, self._hash, self._size = name, hashlib.sha256(), 0
        self._entry = self._zip.open(info, "w", force_zip64=True)
        return self._out.take()

    def write(self, piece: bytes) -> bytes:
        assert self._entry is not None
        self._hash.update(piece)
        self._size += len(piece)
        self._entry.write(piece)
        return self._out.take()

    def end(self) -> bytes:
        """End the entry."""
        assert self._entry is not None
        self._entry.close()
        self._entries[self._name] = Entry(self._size, self._hash.hexdigest())
        return self._out.take()

    def finish(self, *, ts: int, version: str) -> bytes:
        """Write the manifest and end the archive."""
        manifest = Manifest(ts=ts, version=version, entries=self._entries)
        self._zip.writestr(zipfile.ZipInfo(MANIFEST, _EPOCH), msgspec.json.encode(manifest))
        self._zip.close()
        return self._out.take()


class _Drain(io.RawIOBase):
    """A file that can only be written, and gives away what was."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: bytes, /) -> int:  # type: ignore[override]
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


def read_archive(
    path: Path, sink: Callable[[str, Iterator[bytes]], None], progress: Callable[[int], None] = lambda size: None
) -> Manifest:
    """Read a backup to its end and check all of it; `sink` gets each entry's name and its bytes, in pieces.

    What `sink` does with them counts only once this returns. `progress` is told how many bytes were read just now. Raises
    BadBackup.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = _manifest(archive)
            for name, entry in manifest.entries.items():
                checked = _Checked(name, entry, progress)
                with archive.open(name) as source:
                    sink(name, checked.pieces(source))
                checked.must_be_whole()
            return manifest
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
            raise
        raise BadBackup(f"{path} is not a whole backup: {error}") from None


def _manifest(archive: zipfile.ZipFile) -> Manifest:
    if archive.getinfo(MANIFEST).file_size > MANIFEST_MAX_BYTES:
        raise BadBackup("the manifest is absurdly large")
    try:
        manifest = msgspec.json.decode(archive.read(MANIFEST), type=Manifest)
    except msgspec.MsgspecError as error:
        raise BadBackup(f"the manifest can't be read: {error}") from None
    if manifest.format > FORMAT:
        raise BadBackup(
            f"this backup was written by a newer reactor ({manifest.version}); use that version to restore it"
        )
    if DATABASE not in manifest.entries:
        raise BadBackup("there is no database in it")
    return manifest


class _Checked:
    """One entry on its way, compared with what the manifest says of it."""

    def __init__(self, name: str, entry: Entry, progress: Callable[[int], None]) -> None:
        self._name, self._entry, self._progress = name, entry, progress
        self._hash, self._size = hashlib.sha256(), 0

    def pieces(self, source: IO[bytes]) -> Iterator[bytes]:
        while piece := source.read(PIECE_BYTES):
            self._size += len(piece)
            if self._size > self._entry.size:
                break
            self._hash.update(piece)
            self._progress(len(piece))
            yield piece

    def must_be_whole(self) -> None:
        if self._size != self._entry.size or self._hash.hexdigest() != self._entry.sha256:
            raise BadBackup(f"{self._name} in the backup is damaged: it is not what the manifest says")
