"""What a deployment lends to the functions it runs: settings, time, environment variables, secrets."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from reactor.auth.identity import Caller
from reactor.clock import Clock, SystemClock
from reactor.engine.vector_indexes import VectorIndexes
from reactor.engine.write_transaction import WriteTransaction
from reactor.limits import DEFAULT_LIMITS, Limits
from reactor.model.environment import BUILT_IN
from reactor.runtime.app import App
from reactor.runtime.logs import LogLine
from reactor.runtime.poison import PoisonGuard
from reactor.runtime.registry import RegisteredFunction

if TYPE_CHECKING:
    from reactor.runtime.file_service import FileService

__all__ = ["DEFAULT_HOST", "Host", "HostEnvironment", "NestedResult", "Runner"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class NestedResult:
    """What a function called by an action came back with."""

    value: bytes
    log_lines: tuple[LogLine, ...] = ()


class Runner(Protocol):
    """How an action reaches functions: each call is an execution of its own. The backend implements it."""

    async def run(
        self,
        app: App,
        fn: RegisteredFunction,
        args: bytes,
        caller: Caller,
        *,
        request_id: str,
        parent: str | None = None,
    ) -> NestedResult:
        """Run `fn` (of the action's own `app` generation) to its end. Raises the very exception that it raised.

        An action that calls an action gets here, too. `parent` is the execution id of the action that calls.
        """
        ...

    @property
    def vectors(self) -> VectorIndexes:
        """The vector indexes that actions search."""
        ...

    async def write(self, change: Callable[[WriteTransaction], T]) -> T:
        """Run a change of our own in a transaction of its own; it is durable when this returns."""
        ...

    def table_name(self, number: int) -> str | None:
        """The name of a table by its number, as of now: what id validators need."""
        ...


class HostEnvironment(Mapping[str, str]):
    """The process's environment variables, and the built-in ones: where the deployment is reached (`urls`)."""

    def __init__(self, urls: Callable[[], tuple[str, str]]) -> None:
        self._urls = urls

    def _own(self) -> dict[str, str]:
        return dict(zip(BUILT_IN, self._urls(), strict=True))

    def __getitem__(self, name: str) -> str:
        own = self._own()
        return own[name] if name in own else os.environ[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**os.environ, **self._own()})

    def __len__(self) -> int:
        return len({**os.environ, **self._own()})


@dataclass(frozen=True, slots=True)
class Host:
    """One per backend. `environment` is looked at whenever a variable is read."""

    limits: Limits = DEFAULT_LIMITS
    dev: bool = False
    """In development; functions are told more."""
    clock: Clock = field(default_factory=SystemClock)
    environment: Mapping[str, str] = field(default_factory=dict)
    """What is no variable of the deployment's own: the process's, and the built-in ones, which win over all."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """The deployment's own, as of the last commit. Queries and mutations read them from their snapshot instead."""
    cursor_key: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    """32 secret bytes that pagination cursors are sealed with. They must outlive restarts, or pages start over."""
    files: FileService | None = None
    """Where files are stored."""
    poison: PoisonGuard | None = None
    """What keeps a mutation that kills the server from being run for ever."""

    def committed_variable(self, name: str) -> str | None:
        """An environment variable as of now, for what runs outside of transactions."""
        value = None if name in BUILT_IN else self.variables.get(name)
        return self.environment.get(name) if value is None else value


DEFAULT_HOST = Host()
