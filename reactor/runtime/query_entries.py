"""Which entry a call shares, and what becomes of entries that nobody follows.

Calls of the same function with the same arguments share one entry for each identity, or one for all (`SHARED`) as long as
its runs don't look at the identity. Entries without followers stay as cached results, up to a number of bytes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from reactor.engine.commit_record import CommitRecord
from reactor.engine.invalidation import InvalidationIndex
from reactor.engine.read_set import ReadSet
from reactor.runtime.query_entry import SHARED, Entry, Family, QueryCall
from reactor.runtime.waist import Success

__all__ = ["QueryEntries"]


class QueryEntries:
    """All entries of one deployment. `cached_bytes`: what those without followers may take together."""

    def __init__(self, cached_bytes: int) -> None:
        self._cached_bytes = cached_bytes
        self._index: InvalidationIndex[Entry] = InvalidationIndex()
        self._families: dict[Family, dict[str, Entry]] = {}
        self._idle: OrderedDict[Entry, int] = OrderedDict()
        self._idle_bytes = 0

    def __len__(self) -> int:
        return sum(map(len, self._families.values()))

    def __iter__(self) -> Iterator[Entry]:
        for family in self._families.values():
            yield from family.values()

    def of(self, call: QueryCall) -> Entry:
        """The entry this call shares, made if need be."""
        family = self._families.setdefault(call.family, {})
        entry = family.get(SHARED) or family.get(call.caller.key)
        if entry is None:
            entry = family[call.caller.key] = Entry(call)
        self._uncache(entry)
        return entry

    def _uncache(self, entry: Entry) -> None:
        """It is no longer the cache that decides how long it stays."""
        if entry in self._idle:
            self._idle_bytes -= self._idle.pop(entry)

    def release(self, entry: Entry) -> None:
        """Nobody follows this entry any more: keep it as a cached result, or forget it."""
        if entry.followers or entry.in_flight or entry in self._idle:
            return
        if not entry.is_fresh or entry.version is None or not isinstance(entry.version.outcome, Success):
            self._forget(entry)
            return
        size = entry.size
        self._idle[entry] = size
        self._idle_bytes += size
        while self._idle_bytes > self._cached_bytes:
            self._forget(next(iter(self._idle)))

    def _forget(self, entry: Entry) -> None:
        self._index.unregister(entry)
        self._uncache(entry)
        self._take_out(entry)

    def _take_out(self, entry: Entry) -> None:
        """Out of its family, if it is there."""
        family = self._families.get(entry.family)
        if family is not None and family.get(entry.caller_key) is entry:
            del family[entry.caller_key]
            if not family:
                del self._families[entry.family]

    def register(self, entry: Entry, read_set: ReadSet) -> None:
        """From now on a commit that touches `read_set` makes the entry stale."""
        self._index.register(entry, read_set)

    def made_stale_by(self, record: CommitRecord) -> Iterator[Entry]:
        """Mark what this commit makes stale. Gives the entries that may have followers; cached results are forgotten."""
        for entry in self._index.touched_by(record):
            if entry.valid_until is not None:
                continue
            entry.valid_until = record.ts
            entry.stale_by = record
            if entry in self._idle:
                self._forget(entry)
            else:
                yield entry

    # What a run tells of who may share its entry

    def share(self, entry: Entry, ts: int) -> Entry:
        """The run at `ts` did not look at the identity: everybody may use its result. Returns the entry that now holds it."""
        family = self._families.get(entry.family)
        if family is None or family.get(entry.caller_key) is not entry:
            return entry
        shared = family.get(SHARED)
        if shared is None:
            del family[entry.caller_key]
            entry.caller_key = SHARED
            family[SHARED] = entry
            # Those that were made for other identities and have not run yet need not run.
            for other in list(family.values()):
                if other is not entry and other.version is None and not other.in_flight:
                    self._merge(other, entry)
            return entry
        if shared.valid_at(ts) and not shared.in_flight:
            self._merge(entry, shared)
            return shared
        return entry

    def _merge(self, gone: Entry, kept: Entry) -> None:
        if gone.followers:
            self._uncache(kept)
        for followed in list(gone.followers):
            followed.subscriber.move(followed, kept)
        self._forget(gone)

    def claim(self, entry: Entry) -> None:
        """A shared entry's run looked at the identity after all: from now on it is that identity's own."""
        family = self._families.setdefault(entry.family, {})
        if family.get(SHARED) is entry:
            del family[SHARED]
        entry.caller_key = entry.call.caller.key
        family[entry.caller_key] = entry

    def rekey(self, entry: Entry, journal: str | None) -> None:
        """A run that fixed the end of its page goes on under that journal; newcomers without one get a page of their own."""
        self._take_out(entry)
        entry.call = entry.call.with_journal(journal)
        entry.family = entry.call.family
        self._families.setdefault(entry.family, {}).setdefault(entry.caller_key, entry)
