"""What tables and indexes exist: immutable, replaced as a whole when a transaction that changes it has committed.

An index has a kind. Database indexes hold one ordered key per document and are what ranges read; a search or vector index
holds what its kind makes of a document. Kinds plug in at three places: here by name, in `store.protocol` with what the
store keeps for them (and `store/sqlite/kinds` with their tables), and in `engine.index_kinds` with what a document becomes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = [
    "BY_CREATION_TIME",
    "BY_ID",
    "FIRST_USER_TABLE",
    "SYSTEM_TABLES",
    "Catalogue",
    "IndexInfo",
    "IndexKind",
    "IndexState",
    "TableInfo",
]

BY_ID: Final = "by_id"
BY_CREATION_TIME: Final = "by_creation_time"
FIRST_USER_TABLE: Final = 10_001
"""Lower numbers are for system tables. Source: Convex's id encoding, so that ids have the usual 32 characters."""

SYSTEM_TABLES: Final[Mapping[str, int]] = {"_storage": 1, "_scheduled_functions": 2}
"""The tables that are there from the start. Their numbers are part of ids that clients hold: never change one."""

IndexState = Literal["ready", "backfilling", "staged"]
IndexKind = Literal["database", "search", "vector"]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """One index. `fields` are dotted wire paths, by kind:

    - database: the fields of its keys in order; creation time and id, which end every key, are not listed.
    - search: (search field, *filter fields).
    - vector: (vector field, *filter fields); `dimensions` is the length of its vectors.

    `by_id` has no table of its own in the store: its keys are `encode_key([id])`. `by_creation_time` is an ordinary
    index without fields. `storage` as in `TableInfo`.
    """

    number: int
    table: str
    table_number: int
    name: str
    fields: tuple[str, ...]
    state: IndexState = "ready"
    kind: IndexKind = "database"
    dimensions: int | None = None
    storage: int = 0
    roots: frozenset[str] = field(init=False, compare=False, repr=False)
    """The top-level fields that its entries are made of."""
    is_by_id: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.storage:
            object.__setattr__(self, "storage", self.table_number)
        object.__setattr__(self, "roots", frozenset([path.partition(".")[0] for path in self.fields]))
        object.__setattr__(self, "is_by_id", self.name == BY_ID)


@dataclass(frozen=True, slots=True)
class TableInfo:
    """One table. `indexes` are its database indexes, `by_id` and `by_creation_time` included; `search` and `vector` the others.

    Writes maintain all of them, whatever their state (one that is still being filled is maintained too): the keys of
    `kept`, which has every database index but `by_id`, and the entries of `others`, the search and vector indexes.

    `number` is part of the documents' ids; `storage` says where in the store they are. The two are the same until an import
    has put other documents in their place.
    """

    number: int
    name: str
    indexes: Mapping[str, IndexInfo]
    kept: tuple[IndexInfo, ...] = field(default=())
    search: Mapping[str, IndexInfo] = field(default_factory=dict)
    vector: Mapping[str, IndexInfo] = field(default_factory=dict)
    mirrored: tuple[IndexInfo, ...] = ()
    """Search and vector indexes of the hidden table that this one is being copied to."""
    storage: int = 0
    others: tuple[IndexInfo, ...] = field(init=False, compare=False, repr=False)
    roots: frozenset[str] = field(init=False, compare=False, repr=False)
    """The top-level fields that any database index of it has: a change of no other field leaves all keys as they are."""
    is_system: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.storage:
            object.__setattr__(self, "storage", self.number)
        roots = [index.roots for index in (*self.indexes.values(), *self.kept)]
        object.__setattr__(self, "roots", frozenset().union(*roots))
        object.__setattr__(self, "is_system", self.number < FIRST_USER_TABLE)
        object.__setattr__(self, "others", (*self.search.values(), *self.vector.values(), *self.mirrored))

    @property
    def all_indexes(self) -> tuple[IndexInfo, ...]:
        """Indexes of every kind; a name belongs to one of them. What is kept for a hidden table is not among them."""
        return (*self.indexes.values(), *self.search.values(), *self.vector.values())


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All tables. `version` rises by one with every change."""

    version: int
    tables: Mapping[str, TableInfo]
    by_number: Mapping[int, TableInfo]

    def table_name(self, number: int) -> str | None:
        """The name of the table with this number, or None: the resolver that id validators need."""
        table = self.by_number.get(number)
        return None if table is None else table.name
