"""The vector indexes of a deployment in memory, and searches of them.

Each ready index is read from the store in the background, then follows the commits: what a commit changed is noted, and read
from the store when a search comes (or when much has gathered). A search opens a snapshot, brings the index to exactly that
timestamp, has it name the candidates, and ranks these by the vectors of the snapshot: so a result is of one point in time,
and sees every commit that was published before it was asked for. All but the waiting happens on store threads.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from reactor.engine.commit_record import CommitRecord
from reactor.engine.database import Database
from reactor.engine.vector_lookup import CHUNK, DocumentReader, FoundVector, apply, entry, find
from reactor.errors import LimitExceeded, ReactorError, SchemaError, Unavailable
from reactor.store.catalogue import Catalogue, IndexInfo
from reactor.store.protocol import Reader, SnapshotEnded

if TYPE_CHECKING:
    from reactor.search.vectors import VectorSet

__all__ = ["VectorIndexGone", "VectorIndexes", "require_libraries"]

logger = logging.getLogger("reactor.engine")

T = TypeVar("T")

GATHERED: Final = 1024
"""So many changed documents are read without waiting for a search."""
ATTEMPTS: Final = 3
RETRY_S: Final = 10.0
RETRY_FACTOR: Final = 10.0
"""An index that failed is loaded again by a search that comes so many seconds later, or so many times what loading it took."""


class VectorIndexGone(Unavailable):
    """The index was dropped since it was looked up. There may be another by its name."""


def require_libraries() -> None:
    """Raise SchemaError unless the libraries that vector indexes need can be imported."""
    from importlib.util import find_spec

    missing = [name for name in ("numpy", "simsimd") if find_spec(name) is None]
    if missing:
        raise SchemaError(
            f"Vector indexes need {' and '.join(missing)}: install the extra with `pip install 'reactor[vectors]'`.",
            code="MissingLibrary",
        )


class _Followed:
    """One index: what is in memory of it, and what has changed since."""

    def __init__(self, info: IndexInfo) -> None:
        self.info = info
        self.vectors: VectorSet | None = None
        self.changed: dict[str, int] = {}
        """Documents to read again, by id, with the timestamp of their last change."""
        self.turn = asyncio.Lock()
        """Whoever has it may read and change `vectors`."""
        self.loading: asyncio.Task[None] | None = None
        self.catching_up: asyncio.Task[None] | None = None
        self.clustering: asyncio.Task[None] | None = None
        self.failed: ReactorError | None = None
        self.retry_at = 0.0
        """When it may be tried again after it failed, by the loop's clock."""
        self.load_s = 0.0

    def fail(self, error: ReactorError) -> None:
        self.failed = error
        self.retry_at = asyncio.get_running_loop().time() + max(RETRY_S, RETRY_FACTOR * self.load_s)
        self.forget()

    def drop(self) -> None:
        if self.loading is not None:
            self.loading.cancel()
        self.forget()

    def forget(self) -> None:
        self.changed.clear()
        # Not closed: a search may be at work on it, on other threads; its own threads end with it.
        self.vectors = None


class VectorIndexes:
    """Lives on the event loop. It begins to load with the first commit it hears of; a deploy is one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._followed: dict[int, _Followed] = {}
        self._by_table: dict[int, list[_Followed]] = {}
        self._catalogue_version = -1
        self._one_at_a_time = asyncio.Semaphore(1)
        self._searches: set[asyncio.Task[Any]] = set()
        self._closed = False
        database.listen(self._on_commit, self._after_batch)

    async def close(self) -> None:
        self._closed = True
        tasks = [t for f in self._followed.values() for t in (f.loading, f.catching_up, f.clustering) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, *self._searches, return_exceptions=True)
        for followed in self._followed.values():
            if followed.vectors is not None:
                followed.vectors.close()
            followed.drop()
        self._followed.clear()
        self._by_table.clear()

    @property
    def memory_bytes(self) -> int:
        """About how much memory all of them take."""
        return sum(f.vectors.memory_bytes for f in self._followed.values() if f.vectors is not None)

    @property
    def counts(self) -> dict[str, int]:
        """How many vectors each index in memory holds, by "table.index"."""
        return {
            f"{f.info.table}.{f.info.name}": len(f.vectors) for f in self._followed.values() if f.vectors is not None
        }

    @property
    def catalogue(self) -> Catalogue:
        return self._database.catalogue

    # Following

    def _on_commit(self, record: CommitRecord) -> None:
        by_table = self._by_table
        if not by_table:
            return
        for write in record.writes:
            for followed in by_table.get(write.table, ()):
                if followed.failed is None and not followed.info.roots.isdisjoint(write.fields):
                    followed.changed[write.id] = record.ts

    def _after_batch(self) -> None:
        catalogue = self._database.catalogue
        if catalogue.version != self._catalogue_version:
            self._catalogue_version = catalogue.version
            self._follow([i for t in catalogue.tables.values() for i in t.vector.values() if i.state == "ready"])
        for followed in self._followed.values():
            if (
                len(followed.changed) >= GATHERED
                and followed.vectors is not None
                and followed.catching_up is None
                and not self._closed
            ):
                followed.catching_up = asyncio.get_running_loop().create_task(self._catch_up(followed))

    def _follow(self, ready: Iterable[IndexInfo]) -> None:
        wanted = {info.number: info for info in ready}
        for number in self._followed.keys() - wanted.keys():
            self._followed.pop(number).drop()
        for number, info in wanted.items():
            followed = self._followed.get(number)
            if followed is None:
                followed = self._followed[number] = _Followed(info)
                self._begin_to_load(followed)
            followed.info = info
        self._by_table = {}
        for followed in self._followed.values():
            self._by_table.setdefault(followed.info.table_number, []).append(followed)

    def _begin_to_load(self, followed: _Followed) -> None:
        followed.failed = None
        followed.loading = asyncio.get_running_loop().create_task(self._load(followed))

    async def _load(self, followed: _Followed) -> None:
        """Read an index into memory. What commits change meanwhile is noted from before the first row, and read again."""
        async with self._one_at_a_time:
            began = asyncio.get_running_loop().time()
            try:
                await self._read_all(followed)
                return
            except ReactorError as error:
                failure = error
                logger.error(
                    "the vector index %s.%s can't be loaded: %s", followed.info.table, followed.info.name, error
                )
            except Exception as error:
                failure = Unavailable(f"The vector index can't be loaded: {error!r}")
                logger.exception("the vector index %s.%s can't be loaded", followed.info.table, followed.info.name)
            finally:
                followed.load_s = asyncio.get_running_loop().time() - began
            followed.fail(failure)

    def _is_gone(self, followed: _Followed) -> bool:
        return self._closed or self._followed.get(followed.info.number) is not followed

    async def _read_all(self, followed: _Followed) -> None:
        info = followed.info

        def start() -> VectorSet:
            require_libraries()
            from reactor.search.vectors import VectorSet

            assert info.dimensions is not None
            return VectorSet(info.dimensions, len(info.fields) - 1)

        vectors = await asyncio.to_thread(start)
        after = 0
        while True:
            rows = await self._read(lambda reader, after=after: reader.vectors_after(info, after, CHUNK))
            if not rows:
                break
            after = rows[-1].number
            await asyncio.to_thread(vectors.put, [entry(row) for row in rows])
            self._check_memory(vectors.memory_bytes)
        followed.vectors = vectors
        self._find_clusters(followed)

    def _find_clusters(self, followed: _Followed) -> None:
        """When there are too many vectors to look at all of them: find clusters, in the background."""
        vectors = followed.vectors
        if vectors is not None and vectors.wants_clusters and followed.clustering is None and not self._closed:
            task = asyncio.get_running_loop().create_task(self._cluster(followed, vectors))
            followed.clustering = task

    async def _cluster(self, followed: _Followed, vectors: VectorSet) -> None:
        from reactor.search.clusters import train

        name = f"{followed.info.table}.{followed.info.name}"
        clusters = None
        try:
            async with followed.turn:
                view = vectors.begin_clusters()
            clusters = await asyncio.to_thread(train, view)
        except Exception:
            logger.exception("the vector index %s stays without clusters: its searches look at all vectors", name)
        finally:
            async with followed.turn:
                await asyncio.shield(asyncio.to_thread(vectors.use_clusters, clusters))
            followed.clustering = None

    async def _read(self, job: Callable[[Reader], T]) -> T:
        return await self._database.store.read(job)

    def _check_memory(self, more: int = 0) -> None:
        limit = self._database.limits.vector_memory_bytes
        if self.memory_bytes + more > limit:
            raise LimitExceeded(
                f"The vector indexes need more than {limit // 2**20} MiB of memory. Raise `vector_memory_bytes` in "
                "[tool.reactor.limits], or keep fewer or shorter vectors.",
                code="TooMuchVectorMemory",
            )

    async def _catch_up(self, followed: _Followed) -> None:
        """Read what has gathered, so that no search has to."""
        try:
            while len(followed.changed) >= GATHERED:
                async with followed.turn:
                    ids = list(followed.changed)[:CHUNK]
                    ts, rows = await self._read(
                        lambda reader, ids=ids: (reader.ts, reader.vectors_of(followed.info, ids))
                    )
                    vectors = followed.vectors
                    if vectors is None:
                        return
                    await asyncio.shield(asyncio.to_thread(apply, vectors, ids, rows))
                    self._settle(followed, ids, ts)
        except Exception:
            if not self._is_gone(followed):
                logger.exception(
                    "bringing the vector index %s.%s up to date failed", followed.info.table, followed.info.name
                )
        finally:
            followed.catching_up = None

    def _settle(self, followed: _Followed, ids: Iterable[str], ts: int) -> None:
        """`ids` were read as of `ts`: only later changes still matter."""
        changed = followed.changed
        for id in ids:
            if changed.get(id, ts + 1) <= ts:
                del changed[id]
        self._find_clusters(followed)
        try:
            self._check_memory()
        except LimitExceeded as error:
            followed.fail(error)

    # Search

    async def search(
        self,
        info: IndexInfo,
        vector: Sequence[float],
        limit: int,
        any_of: Sequence[tuple[int, bytes]] | None = None,
        *,
        documents: DocumentReader | None = None,
    ) -> list[FoundVector]:
        """The `limit` documents nearest to `vector` (finite, of the index's length): best first, equal ones by id.

        With `any_of` only those that have one of these (number of a filter field, `filter_key`). With `documents` the
        hits have theirs. Waits while the index is being loaded. Raises VectorIndexGone when it was dropped, ReactorError
        when it can't be loaded, or could not be a moment ago.
        """
        task = asyncio.get_running_loop().create_task(self._search(info, vector, limit, any_of, documents))
        # A caller that goes away must not give up its turn while a store thread is at work on the index.
        self._searches.add(task)
        task.add_done_callback(self._searches.discard)
        return await asyncio.shield(task)

    async def _search(
        self,
        info: IndexInfo,
        vector: Sequence[float],
        limit: int,
        any_of: Sequence[tuple[int, bytes]] | None,
        documents: DocumentReader | None,
    ) -> list[FoundVector]:
        followed = self._followed.get(info.number)
        gone = VectorIndexGone(f"The vector index {info.table}.{info.name} is gone. Try again.")
        if followed is None:
            raise gone
        attempts = 0
        async with followed.turn:
            while True:
                if self._is_gone(followed):
                    raise gone
                if followed.failed is not None and asyncio.get_running_loop().time() >= followed.retry_at:
                    self._begin_to_load(followed)
                if followed.loading is not None:
                    await asyncio.wait([followed.loading])
                vectors = followed.vectors
                if self._is_gone(followed):
                    raise gone
                if followed.failed is not None:
                    raise followed.failed
                assert vectors is not None, "loaded, not failed, not dropped"
                (snapshot,) = await self._database.open_snapshots(1)
                try:
                    await self._database.wait_processed(snapshot.ts)
                    ids = list(followed.changed)
                    found = await snapshot.run(
                        lambda reader, vectors=vectors, ids=ids: find(
                            reader, info, vectors, ids, vector, limit, any_of, documents
                        )
                    )
                    self._settle(followed, ids, snapshot.ts)
                    return found
                except SnapshotEnded:
                    attempts += 1
                    if attempts == ATTEMPTS:
                        raise
                finally:
                    await snapshot.close()
