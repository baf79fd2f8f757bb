"""Parts of `ctx` whose machinery comes later: they are typed and there, and say so when used."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from typing_extensions import TypeForm

from reactor.errors import FunctionError

__all__ = ["not_yet", "vector_search"]

D = TypeVar("D")


def not_yet(what: str, feature: str) -> FunctionError:
    return FunctionError(f"{what} comes with {feature}, which this version does not have yet.", code="NotImplemented")


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
