"""Metadata is any value its writer likes; as a rule an object."""

from __future__ import annotations

from typing import Any, cast

from reactor import UNSET


def is_given(metadata: object) -> bool:
    """Whether there is something to store. None, false, 0 and the empty text count as nothing; empty objects don't."""
    return metadata is not UNSET and (bool(metadata) or isinstance(metadata, dict | list))


def fields_of(metadata: object) -> dict[str, Any]:
    """The fields of an object; what is none has none."""
    return cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {}


def merged(below: object, above: object) -> Any:
    """The fields of `above` over those of `below`; where either is no object, `above` as it is."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**fields_of(cast("object", below)), **fields_of(cast("object", above))}
    return cast("Any", above)
