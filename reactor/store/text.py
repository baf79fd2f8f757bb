"""What the store's full-text indexes take and give."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TextEntry", "TextMatch", "TextQuery"]


@dataclass(frozen=True, slots=True)
class TextEntry:
    """A document in a full-text index. `words` and `filters` are tokens with spaces between."""

    document_id: str
    creation_time: float
    words: str
    filters: str


@dataclass(frozen=True, slots=True)
class TextQuery:
    """Documents that have any of `words`, or a word beginning with `last`, and all of the tokens `filters`."""

    words: tuple[str, ...]
    last: str
    filters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TextMatch:
    """A match. The lower `rank`, a whole number, the better."""

    document_id: str
    creation_time: float
    rank: int
