"""Parts of `ctx` whose machinery comes later: they are typed and there, and say so when used."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from typing_extensions import TypeForm

from reactor.errors import FunctionError
from reactor.schema.ids import Id

__all__ = ["Storage", "not_yet"]

D = TypeVar("D")


def not_yet(what: str, feature: str) -> FunctionError:
    return FunctionError(f"{what} comes with {feature}, which this version does not have yet.", code="NotImplemented")


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
