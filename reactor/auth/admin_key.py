"""Admin keys: any strings, held hashed, compared in constant time, with or without their `type:` prefix."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

__all__ = ["AdminKeys", "hash_key", "strip_key_type"]


def strip_key_type(key: str) -> str:
    """Drop what only tells tools which deployment a key is for.

    `prod:name|secret` becomes `name|secret`; of `preview:…|secret` and `project:…|secret` only `secret` remains.
    """
    prefix, bar, secret = key.partition("|")
    kind, colon, name = prefix.partition(":")
    if not bar or not colon:
        return key
    return secret if kind in ("preview", "project") else f"{name}|{secret}"


class AdminKeys:
    """The keys that open a deployment. Without any key, nothing does."""

    def __init__(self, keys: Iterable[str] = ()) -> None:
        self._hashes = tuple(hash_key(key) for key in keys if key)

    def accepts(self, key: str) -> bool:
        """Whether `key` is one of them. Takes as long for a near miss as for nonsense."""
        given = hash_key(key)
        found = False
        for known in self._hashes:
            found |= hmac.compare_digest(known, given)
        return found


def hash_key(key: str) -> bytes:
    """What is kept of a key: 32 bytes, the same with and without its `type:` prefix.

    A plain SHA-256: keys are random, with far more bits than anybody can try.
    """
    return hashlib.sha256(strip_key_type(key).encode("utf-8", "surrogatepass")).digest()
