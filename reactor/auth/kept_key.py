"""The admin key of a deployment that was given none: made at the first start, of which the data keeps only a hash.

The key itself is kept for the user who made it, below that user's configuration directory, in a file named by the hash: so
it is found again wherever the data moves to, and whoever reads the data, or a copy of it, can't use it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from reactor.auth.admin_key import AdminKeys, hash_key
from reactor.errors import ReactorError

__all__ = [
    "HASH_FILE",
    "PLAIN_FILE",
    "KeptAdminKey",
    "KeptKey",
    "NoAdminKey",
    "find_key",
    "make_key",
    "migrate_key",
    "provide_key",
]

HASH_FILE: Final = "admin_key.sha256"
"""In the data directory: the hash, 64 hex digits."""
PLAIN_FILE: Final = "admin_key"
"""In data directories of the first versions: the key itself."""


class NoAdminKey(ReactorError):
    """There is no admin key, or it is not known to this user."""

    code = "NoAdminKey"


@dataclass(frozen=True, slots=True)
class KeptKey:
    """An admin key as far as this user knows it. `hash` is its hash in hex."""

    hash: str
    key: str | None
    """The key; None when it was made by somebody else, or elsewhere."""
    path: Path | None
    """Where it is kept for this user; None when it is not."""
    is_new: bool = False
    """It was made just now, or came out of the data directory: if it is not kept, nobody can look it up later."""
    problem: str = ""
    """Why it could not be kept."""


class KeptAdminKey(AdminKeys):
    """The key that the data directory knows, as of now: a new one counts from the moment it is made."""

    def __init__(self, data: Path) -> None:
        super().__init__()
        self._path = data / HASH_FILE
        self._seen: tuple[int, int] | None = None

    def accepts(self, key: str) -> bool:
        """Whether `key` is it."""
        # While the file is missing or damaged, the key from before stays: nothing else is known.
        with contextlib.suppress(OSError, NoAdminKey):
            status = self._path.stat()
            seen = (status.st_ino, status.st_mtime_ns)
            if seen != self._seen:
                self._hashes = (bytes.fromhex(_read_hash(self._path)),)
                self._seen = seen
        return super().accepts(key)


def provide_key(data: Path, instance_name: str) -> KeptKey:
    """The key of a deployment that starts, made if there is none yet. `data` exists. Raises NoAdminKey, OSError."""
    if (migrated := migrate_key(data)) is not None:
        return migrated
    try:
        return find_key(data)
    except FileNotFoundError:
        return make_key(data, instance_name)


def find_key(data: Path) -> KeptKey:
    """The key of a deployment. Raises FileNotFoundError where none was made, NoAdminKey where the file is damaged."""
    digest = _read_hash(data / HASH_FILE)
    path = _user_file(digest)
    if path is not None:
        # Whatever is in the way of reading it, the key is not known.
        with contextlib.suppress(OSError, UnicodeDecodeError):
            key = path.read_text("utf-8").partition("\n")[0].strip()
            if hash_key(key).hex() == digest:
                return KeptKey(digest, key, path)
    return KeptKey(digest, None, None)


def make_key(data: Path, instance_name: str) -> KeptKey:
    """Make a new key, in the place of the one there was, and keep it. Servers of this data take it from now on.

    Raises OSError when the data directory can't be written to.
    """
    return _keep(data, f"{instance_name}|{secrets.token_hex(32)}")


def migrate_key(data: Path) -> KeptKey | None:
    """Take the key out of a data directory that still has it in plain text; None where there is none.

    Raises NoAdminKey, OSError.
    """
    plain = data / PLAIN_FILE
    try:
        key = plain.read_text("utf-8").strip()
    except FileNotFoundError:
        return None
    if not key:
        raise NoAdminKey(f"{plain} is empty: delete it, and a new admin key is made")
    kept = _keep(data, key)
    plain.unlink()
    return kept


def _keep(data: Path, key: str) -> KeptKey:
    digest = hash_key(key).hex()
    path, problem = _user_file(digest), ""
    try:
        if path is None:
            problem = "there is no home directory"
        else:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # First the key, then its hash: in between, a file that nobody needs is the worst.
            _write(path, f"{key}\n# opens the reactor deployment whose data is in {data}\n")
    except OSError as error:
        path, problem = None, f"{error.filename or path}: {error.strerror or error}"
    _write(data / HASH_FILE, digest + "\n")
    return KeptKey(digest, key, path, is_new=True, problem=problem)


def _user_file(digest: str) -> Path | None:
    configured = os.environ.get("XDG_CONFIG_HOME")
    if configured and os.path.isabs(configured):  # a relative one must be ignored. Source: XDG Base Directory
        base = Path(configured)
    else:
        try:
            base = Path.home() / ".config"
        except RuntimeError:
            return None
    return base / "reactor" / "admin_keys" / digest[:32]


def _read_hash(path: Path) -> str:
    text = path.read_text("utf-8", "replace").strip()
    try:
        if len(bytes.fromhex(text)) == 32:
            return text.lower()
    except ValueError:
        pass
    raise NoAdminKey(f"{path} is damaged: `reactor admin-key new` makes a new admin key")


def _write(path: Path, text: str) -> None:
    """Put a file that only its owner can read in the place of the one there was, whole and durable."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
