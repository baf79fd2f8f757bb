"""The builder that `with_index("name", lambda q: …)` hands to its lambda: equalities, then a lower and an upper bound.

For type checkers its steps are states: after `eq` anything, after a lower bound an upper one, then nothing. At run time
bounds may come in any order, as long as they make up a prefix of the index fields and bounds on the next one.
"""

from __future__ import annotations

from typing import Any, Protocol

from reactor.engine.ranges import IndexRange, make_range
from reactor.errors import DatabaseError
from reactor.runtime.tables import IndexPlan, already_defined
from reactor.store.catalogue import IndexInfo

__all__ = ["IndexBounds", "IndexEqualities", "IndexUpperBound", "RangeBuilder", "build_range"]


class IndexBounds(Protocol):
    """A finished range."""

    def _finished(self) -> None: ...


class IndexUpperBound(IndexBounds, Protocol):
    """A range that may still get an upper bound, on the field that has the lower one."""

    def lt(self, field: str, value: Any, /) -> IndexBounds: ...
    def lte(self, field: str, value: Any, /) -> IndexBounds: ...


class IndexEqualities(IndexUpperBound, Protocol):
    """The start: equalities on the index's first fields in order, then bounds on the next one."""

    def eq(self, field: str, value: Any, /) -> IndexEqualities: ...
    def gt(self, field: str, value: Any, /) -> IndexUpperBound: ...
    def gte(self, field: str, value: Any, /) -> IndexUpperBound: ...


class RangeBuilder:
    """All states in one; each step uses it up and returns the next."""

    __slots__ = ("_equal", "_lower", "_plan", "_upper", "_used")

    def __init__(self, plan: IndexPlan) -> None:
        self._plan = plan
        self._equal: dict[int, Any] = {}
        self._lower: tuple[int, Any, bool] | None = None
        self._upper: tuple[int, Any, bool] | None = None
        self._used = False

    def _next(self) -> RangeBuilder:
        if self._used:
            raise DatabaseError(
                "IndexRangeBuilder has already been used! Chain your method calls like `lambda q: q.eq(...).eq(...)`."
            )
        self._used = True
        other = RangeBuilder(self._plan)
        other._equal, other._lower, other._upper = self._equal, self._lower, self._upper
        return other

    def _operand(self, field: str, value: Any) -> tuple[int, Any]:
        position = self._plan.position(field)
        return position, self._plan.operand(position, value)

    def eq(self, field: str, value: Any, /) -> RangeBuilder:
        following = self._next()
        position, operand = self._operand(field, value)
        if position in self._equal:
            raise already_defined("equality", field, "==", value)
        if any(bound is not None and bound[0] == position for bound in (self._lower, self._upper)):
            raise already_defined("inequality", field, "==", value)
        following._equal = {**self._equal, position: operand}
        return following

    def _bound(self, side: str, field: str, operator: str, value: Any, inclusive: bool) -> RangeBuilder:
        following = self._next()
        position, operand = self._operand(field, value)
        if position in self._equal:
            raise already_defined("equality", field, operator, value)
        mine, other = (self._lower, self._upper) if side == "lower" else (self._upper, self._lower)
        if mine is not None:
            raise already_defined(side, field, operator, value)
        if other is not None and other[0] != position:
            plan = self._plan
            raise DatabaseError(
                "Upper and lower bounds in `range` can only be applied to a single index field. This query against "
                f'index {plan.title} attempted to set a range bound on both "{plan.fields[other[0]]}" and '
                f'"{plan.fields[position]}". Consider using `filter` for one of them.',
                code="BoundsOnMultipleFields",
            )
        if side == "lower":
            following._lower = (position, operand, inclusive)
        else:
            following._upper = (position, operand, inclusive)
        return following

    def gt(self, field: str, value: Any, /) -> RangeBuilder:
        return self._bound("lower", field, ">", value, False)

    def gte(self, field: str, value: Any, /) -> RangeBuilder:
        return self._bound("lower", field, ">=", value, True)

    def lt(self, field: str, value: Any, /) -> RangeBuilder:
        return self._bound("upper", field, "<", value, False)

    def lte(self, field: str, value: Any, /) -> RangeBuilder:
        return self._bound("upper", field, "<=", value, True)

    def _finished(self) -> None: ...

    def to_range(self, index: IndexInfo) -> IndexRange:
        """The range that was described. Raises DatabaseError unless the fields form a prefix."""
        plan = self._plan
        count = len(self._equal)
        bounds = [bound for bound in (self._lower, self._upper) if bound is not None]
        if any(position >= count for position in self._equal) or any(bound[0] != count for bound in bounds):
            used = [plan.fields[p] for p in (*self._equal, *dict.fromkeys(bound[0] for bound in bounds))]
            raise plan.out_of_order(used)
        prefix = [self._equal[position] for position in range(count)]
        lower = None if self._lower is None else self._lower[1:]
        upper = None if self._upper is None else self._upper[1:]
        return make_range(index, prefix, lower, upper)


def build_range(plan: IndexPlan, index: IndexInfo, describe: Any) -> IndexRange:
    """Run the user's lambda and take what it built. Raises DatabaseError."""
    built = describe(RangeBuilder(plan))
    if not isinstance(built, RangeBuilder):
        raise DatabaseError(
            f"The range of an index is described by a lambda that returns the builder, as in "
            f'`lambda q: q.eq("field", value)`; this one returned {type(built).__name__}.'
        )
    return built.to_range(index)
