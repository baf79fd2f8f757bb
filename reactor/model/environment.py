"""Environment variables of a deployment: kept in `_environment_variables`, read through transactions, changed all or none.

A query that reads one has read an index entry, or the place where one would be: it runs again when that changes, and
nothing else does. For actions, which have no transaction, the committed values are held in memory; they change in the
same loop step in which the change is published.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from reactor.engine.database import Database
from reactor.engine.own_job import OwnJob
from reactor.engine.ranges import make_range
from reactor.engine.transaction import Transaction
from reactor.engine.write_transaction import WriteTransaction
from reactor.errors import ReactorError
from reactor.model.deployment_events import record_event
from reactor.values.wire import decode

__all__ = ["BUILT_IN", "EnvironmentVariables", "InvalidVariable", "all_variables", "read_variable", "update_variables"]

TABLE: Final = "_environment_variables"
INDEX: Final = "by_name"

BUILT_IN: Final = ("CONVEX_CLOUD_URL", "CONVEX_SITE_URL")
"""Where the deployment is reached: told by the server, never set."""

NAME_MAX_CHARS: Final = 256
VALUE_MAX_BYTES: Final = 8 * 1024
MAX_VARIABLES: Final = 512
TOTAL_MAX_BYTES: Final = 512 * 1024
"""Names and values of all variables. Source of all four: server-semantics 11.1."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)

Changes = Sequence[tuple[str, "str | None"]]
"""Names with their new values; None removes."""

Listener = Callable[[frozenset[str]], "Awaitable[None] | None"]
"""Called on the event loop with the names whose values changed, in the step that publishes the change.

Whoever made the change waits for what it returns.
"""


class InvalidVariable(ReactorError):
    """A variable that can't be set. Nothing was changed."""

    code = "EnvironmentVariableNameInvalid"


def check_variable(name: str, value: str | None) -> None:
    """Raise InvalidVariable unless a variable of this name may have this value (None: be removed)."""
    shown = name if len(name) <= 60 else name[:60] + "…"
    if name in BUILT_IN:
        raise InvalidVariable(
            f'Environment variable with name "{name}" is built-in and cannot be overridden', code="EnvVarNameForbidden"
        )
    if len(name) > NAME_MAX_CHARS:
        raise InvalidVariable(
            f'The name of environment variable "{shown}" is too long: at most {NAME_MAX_CHARS} characters.',
            code="EnvironmentVariableNameTooLong",
        )
    if not _NAME.fullmatch(name):
        raise InvalidVariable(
            f'Environment variable name "{shown}" is invalid: names start with a letter or an underscore, and go on with '
            "letters, digits and underscores."
        )
    if value is None:
        return
    try:
        size = len(value.encode("utf-8"))
    except UnicodeEncodeError:
        raise InvalidVariable(
            f'The value of environment variable "{name}" is no text: it holds half of a surrogate pair.',
            code="EnvironmentVariableValueInvalid",
        ) from None
    if size > VALUE_MAX_BYTES:
        raise InvalidVariable(
            f'The value of environment variable "{name}" is too large: {size} bytes, limit: {VALUE_MAX_BYTES}.',
            code="EnvironmentVariableValueTooLarge",
        )


def read_variable(tx: Transaction, name: str) -> str | None:
    """The value as of the transaction's snapshot, or None. It becomes part of the read set, also when it is missing."""
    table = tx.catalogue.tables.get(TABLE)
    if table is None:
        return None
    rows = tx.rows(table, make_range(table.indexes[INDEX], [name]), 1)
    if not rows:
        return None
    document: Any = decode(rows[0][1])
    return document["value"]


def all_variables(tx: Transaction) -> list[dict[str, Any]]:
    """The stored documents by name: `name` and `value`, and the system fields. The read set then has all of them."""
    return list(_all(tx))


def update_variables(tx: WriteTransaction, changes: Changes) -> dict[str, str]:
    """Apply `changes` and return all variables as they are then. Raises InvalidVariable."""
    names = set[str]()
    for name, value in changes:
        check_variable(name, value)
        if name in names:
            raise InvalidVariable(f'Environment variable "{name}" is changed twice.', code="EnvVarNameNotUnique")
        names.add(name)
    documents = {document["name"]: document for document in _all(tx)}
    table = tx.catalogue.tables[TABLE]
    for name, value in changes:
        there = documents.get(name)
        if value == (None if there is None else there["value"]):
            continue
        if value is None:
            assert there is not None
            tx.delete(table, there["_id"])
            del documents[name]
        elif there is None:
            tx.insert(TABLE, {"name": name, "value": value})
            documents[name] = {"name": name, "value": value}
        else:
            tx.patch(table, there["_id"], {"value": value})
            documents[name] = {**there, "value": value}
        verb = "delete" if value is None else "create" if there is None else "update"
        record_event(tx, f"{verb}_environment_variable", {"variable_name": name})
    variables = {name: documents[name]["value"] for name in sorted(documents)}
    if len(variables) > MAX_VARIABLES:
        raise InvalidVariable(
            f"Too many environment variables: {len(variables)}, limit: {MAX_VARIABLES}.", code="EnvVarLimitMet"
        )
    total = sum(len(name) + len(value.encode("utf-8")) for name, value in variables.items())
    if total > TOTAL_MAX_BYTES:
        raise InvalidVariable(
            f"The environment variables are too large together: {total} bytes, limit: {TOTAL_MAX_BYTES}.",
            code="EnvVarTotalSizeLimitMet",
        )
    return variables


def _all(tx: Transaction) -> Iterator[dict[str, Any]]:
    scan = tx.scan(make_range(tx.catalogue.tables[TABLE].indexes[INDEX]))
    while (row := scan.next()) is not None:
        document: Any = decode(row[1])
        yield document


class _Update(OwnJob[dict[str, str]]):
    """A change whose outcome is taken over in the loop step that publishes it."""

    def __init__(
        self,
        change: Callable[[WriteTransaction], dict[str, str]],
        take: Callable[[dict[str, str]], list[Awaitable[None]]],
    ) -> None:
        super().__init__(change, lane="#environment", background=False)
        self._take = take
        self.reactions: list[Awaitable[None]] = []

    def succeed(self, ts: int) -> None:
        self.reactions = self._take(self._result)
        super().succeed(ts)


class EnvironmentVariables(Mapping[str, str]):
    """The committed variables of one deployment, and how they are changed. Lives on the event loop; reading is free."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._values: dict[str, str] = {}
        self._listeners: list[Listener] = []

    async def load(self) -> None:
        """Read what is stored."""
        self._values = await self._database.read(lambda tx: {d["name"]: d["value"] for d in _all(tx)})

    def listen(self, listener: Listener) -> None:
        """Be told of changes."""
        self._listeners.append(listener)

    async def update(self, changes: Changes) -> None:
        """Set and remove variables, all or none; returns once that is durable and queries have been told.

        Raises InvalidVariable.
        """
        changes = list(changes)
        job = _Update(lambda tx: update_variables(tx, changes), self._take)
        self._database.submit(job)
        await job.done
        await asyncio.gather(*job.reactions)

    def _take(self, variables: dict[str, str]) -> list[Awaitable[None]]:
        before, self._values = self._values, variables
        changed = frozenset(n for n in before.keys() | variables.keys() if before.get(n) != variables.get(n))
        reactions = [listener(changed) for listener in self._listeners] if changed else []
        return [reaction for reaction in reactions if reaction is not None]

    def __getitem__(self, name: str) -> str:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
