"""Parts of `ctx` whose machinery comes later: they are typed and there, and say so when used."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Sequence
from datetime import datetime, timedelta
from typing import Any, ParamSpec, TypeVar, overload

from typing_extensions import TypeForm

from reactor.errors import FunctionError
from reactor.runtime.references import FunctionProxy
from reactor.runtime.registry import Action, Mutation
from reactor.schema.ids import Id

__all__ = ["Scheduler", "Storage", "not_yet"]

P = ParamSpec("P")
D = TypeVar("D")


def not_yet(what: str, feature: str) -> FunctionError:
    return FunctionError(f"{what} comes with {feature}, which this version does not have yet.", code="NotImplemented")


class Scheduler:
    """`ctx.scheduler`: run a mutation or an action later."""

    __slots__ = ()

    @overload
    def run_after(
        self,
        delay: float | timedelta,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, Id[Any]]: ...
    @overload
    def run_after(
        self, delay: float | timedelta, ref: FunctionProxy | str, /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Id[Any]]: ...
    def run_after(self, delay: Any, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run `ref` after `delay` (milliseconds or a timedelta), if this mutation commits."""
        raise not_yet("ctx.scheduler", "the scheduler")

    @overload
    def run_at(
        self,
        time: float | datetime,
        ref: Mutation[Any, P, Any] | Action[Any, P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Coroutine[Any, Any, Id[Any]]: ...
    @overload
    def run_at(
        self, time: float | datetime, ref: FunctionProxy | str, /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, Id[Any]]: ...
    def run_at(self, time: Any, ref: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run `ref` at a time (milliseconds since the epoch, or an aware datetime)."""
        raise not_yet("ctx.scheduler", "the scheduler")

    def cancel(self, id: Id[Any], /) -> Coroutine[Any, Any, None]:
        """Cancel what was scheduled."""
        raise not_yet("ctx.scheduler", "the scheduler")


class Storage:
    """`ctx.storage`: files."""

    __slots__ = ()

    def generate_upload_url(self) -> Coroutine[Any, Any, str]:
        raise not_yet("ctx.storage", "file storage")

    def get_url(self, id: Id[Any], /) -> Coroutine[Any, Any, str | None]:
        raise not_yet("ctx.storage", "file storage")

    def get_metadata(self, id: Id[Any], /) -> Coroutine[Any, Any, Any]:
        raise not_yet("ctx.storage", "file storage")

    def get(self, id: Id[Any], /) -> Coroutine[Any, Any, Any]:
        raise not_yet("ctx.storage", "file storage")

    def store(
        self, data: bytes | AsyncIterable[bytes], /, *, content_type: str | None = None
    ) -> Coroutine[Any, Any, Id[Any]]:
        raise not_yet("ctx.storage", "file storage")

    def delete(self, id: Id[Any], /) -> Coroutine[Any, Any, None]:
        raise not_yet("ctx.storage", "file storage")


def vector_search(
    table: TypeForm[D] | str,
    index: str,
    vector: Sequence[float],
    /,
    *,
    limit: int = 10,
    filter: Callable[[Any], Any] | None = None,
    documents: bool = False,
) -> Coroutine[Any, Any, list[Any]]:
    raise not_yet("ctx.vector_search", "vector search")
