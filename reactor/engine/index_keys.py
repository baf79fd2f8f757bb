"""A document's keys in the indexes of its table, in their parts: one per field, then creation time, then id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reactor.engine.commit_record import KeyParts
from reactor.engine.ranges import id_key
from reactor.store.catalogue import IndexInfo
from reactor.values.keys import encode_value
from reactor.values.types import UNSET

__all__ = ["field_at", "key_parts", "key_tail", "key_with_tail"]


def field_at(document: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; UNSET where a field is missing or the path goes through something else."""
    if "." not in path:
        return document.get(path, UNSET)
    value: Any = document
    for name in path.split("."):
        if not isinstance(value, dict):
            return UNSET
        value = value.get(name, UNSET)
    return value


def key_parts(index: IndexInfo, document: Mapping[str, Any]) -> KeyParts:
    """A document's key in an index, in its parts."""
    return key_with_tail(index, document, key_tail(document))


def key_tail(document: Mapping[str, Any]) -> KeyParts:
    """What every index key ends in: creation time and id."""
    return encode_value(document["_creationTime"]), id_key(document["_id"])


def key_with_tail(index: IndexInfo, document: Mapping[str, Any], tail: KeyParts) -> KeyParts:
    """`key_parts`, given the document's `key_tail`, which its indexes share."""
    fields = index.fields
    if not fields:
        return tail[1:] if index.is_by_id else tail
    if len(fields) == 1 and "." not in (path := fields[0]):
        return (encode_value(document.get(path, UNSET)), *tail)
    return (*[encode_value(field_at(document, path)) for path in fields], *tail)
