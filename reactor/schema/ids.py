"""`Id[Project]`: for type checkers a subclass of `str` that knows its table, at run time an annotated `str`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

__all__ = ["Fields", "Id", "IdMarker", "WithoutSystemFields"]

_D_co = TypeVar("_D_co", covariant=True)
_D = TypeVar("_D")


@dataclass(frozen=True, slots=True)
class IdMarker:
    """The class (or the name of the class, or a union of classes) whose table an id belongs to."""

    target: Any


@dataclass(frozen=True, slots=True)
class WithoutSystemFields:
    """Marks `Fields[Message]`."""


if TYPE_CHECKING:

    class Id(str, Generic[_D_co]):
        """The id of a document: `Id[Project]`, or `Id["Project"]` for a class that is defined further down."""

else:

    class Id:
        """The id of a document: `Id[Project]`, or `Id["Project"]` for a class that is defined further down.

        Just a `str` at run time: `Id[Project](text)` and `Id(text)` only tell the type checker.
        """

        def __new__(cls, text: str) -> str:
            return str(text)

        def __class_getitem__(cls, target: Any) -> Any:
            return Annotated[str, IdMarker(target)]


Fields = Annotated[_D, WithoutSystemFields()]
"""`Fields[Message]`: the document without `id` and `creation_time`, as an argument or a result."""
