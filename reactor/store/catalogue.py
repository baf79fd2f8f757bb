"""What tables and indexes exist: immutable, replaced as a whole when a transaction that changes it has committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

__all__ = ["BY_CREATION_TIME", "BY_ID", "FIRST_USER_TABLE", "SYSTEM_TABLES", "Catalogue", "IndexInfo", "TableInfo"]

BY_ID: Final = "by_id"
BY_CREATION_TIME: Final = "by_creation_time"
FIRST_USER_TABLE: Final = 10_001
"""Lower numbers are for system tables. Source: Convex's id encoding, so that ids have the usual 32 characters."""

SYSTEM_TABLES: Final[Mapping[str, int]] = {"_storage": 1, "_scheduled_functions": 2}
"""The tables that are there from the start. Their numbers are part of ids that clients hold: never change one."""

IndexState = Literal["ready", "backfilling", "staged"]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """One database index. `fields` are dotted wire paths; creation time and id, which end every key, are not listed.

    `by_id` has no table of its own in the store: its keys are `encode_key([id])`. `by_creation_time` is an ordinary
    index without fields.
    """

    number: int
    table: str
    table_number: int
    name: str
    fields: tuple[str, ...]
    state: IndexState = "ready"
    roots: frozenset[str] = field(init=False, compare=False, repr=False)
    """The top-level fields that its keys are made of."""
    is_by_id: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "roots", frozenset([path.partition(".")[0] for path in self.fields]))
        object.__setattr__(self, "is_by_id", self.name == BY_ID)


@dataclass(frozen=True, slots=True)
class TableInfo:
    """One table. `indexes` includes `by_id` and `by_creation_time`; `kept` are those that writes must maintain.

    `kept` has every index but `by_id`, whatever its state: one that is still being filled is maintained too.
    """

    number: int
    name: str
    indexes: Mapping[str, IndexInfo]
    kept: tuple[IndexInfo, ...] = field(default=())
    roots: frozenset[str] = field(init=False, compare=False, repr=False)
    """The top-level fields that any index of it has: a change of no other field leaves all keys as they are."""
    is_system: bool = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        roots = [index.roots for index in (*self.indexes.values(), *self.kept)]
        object.__setattr__(self, "roots", frozenset().union(*roots))
        object.__setattr__(self, "is_system", self.number < FIRST_USER_TABLE)


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
