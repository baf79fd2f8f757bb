"""The structs of pagination as functions and clients see them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Literal, TypeVar

from reactor.schema.structs import Struct
from reactor.values.types import UNSET, UnsetType

__all__ = ["PaginationOptions", "PaginationResult"]

T = TypeVar("T")
U = TypeVar("U")


class PaginationOptions(Struct):
    """Which page a client wants. `cursor` is None for the first page, else the last page's `continue_cursor`.

    `id` only tells apart subscriptions of the same page. With `end_cursor` the page is all that lies between the two.
    """

    num_items: int
    cursor: str | None
    end_cursor: str | UnsetType | None = UNSET
    maximum_rows_read: int | UnsetType = UNSET
    maximum_bytes_read: int | UnsetType = UNSET
    id: float | UnsetType = UNSET


class PaginationResult(Struct, Generic[T]):
    """One page. `continue_cursor` is where the next one begins; `is_done` says that there is none."""

    page: list[T]
    is_done: bool
    continue_cursor: str
    split_cursor: str | None
    page_status: Literal["SplitRecommended", "SplitRequired"] | None

    def map(self, convert: Callable[[T], U], /) -> PaginationResult[U]:
        """The same page with every item converted."""
        return self.with_page([convert(item) for item in self.page])

    def with_page(self, items: list[U], /) -> PaginationResult[U]:
        """The same page with other items: what an async conversion made of them."""
        return PaginationResult(
            page=items,
            is_done=self.is_done,
            continue_cursor=self.continue_cursor,
            split_cursor=self.split_cursor,
            page_status=self.page_status,
        )
