"""The builder that `with_search_index("name", lambda q: …)` hands to its lambda: one `search`, then equalities.

For type checkers its steps are states: `search` first, then `eq` as often as need be. Source of the texts of errors:
server-semantics 10.1.
"""

from __future__ import annotations

from typing import Any, Protocol

from reactor.engine.text_search import TextSearch, text_filter
from reactor.errors import DatabaseError
from reactor.limits import SEARCH_MAX_FILTERS
from reactor.runtime.tables import TableBinding
from reactor.search.text import make_query
from reactor.store.catalogue import IndexInfo, TableInfo

__all__ = ["SearchFilters", "SearchStart", "build_search"]


class SearchFilters(Protocol):
    """A search, to which filters may be added."""

    def eq(self, field: str, value: Any, /) -> SearchFilters: ...


class SearchStart(Protocol):
    """The start: what to search for."""

    def search(self, field: str, text: str, /) -> SearchFilters: ...


class SearchBuilder:
    """Both states in one; each step uses it up and returns the next."""

    __slots__ = ("_filters", "_index", "_texts", "_used", "binding")

    def __init__(
        self,
        binding: TableBinding,
        index: IndexInfo,
        texts: tuple[tuple[str, str], ...] = (),
        filters: tuple[tuple[str, Any], ...] = (),
    ) -> None:
        self.binding = binding
        self._index = index
        self._texts = texts
        self._filters = filters
        self._used = False

    def _use(self) -> None:
        if self._used:
            raise DatabaseError(
                "SearchFilterBuilder has already been used! Chain your method calls like "
                "`lambda q: q.search(...).eq(...)`."
            )
        self._used = True

    def search(self, field: str, text: str, /) -> SearchBuilder:
        self._use()
        if not isinstance(text, str):
            raise DatabaseError(f"The text to search for must be a string, not {type(text).__name__}.")
        return SearchBuilder(self.binding, self._index, (*self._texts, (field, text)), self._filters)

    def eq(self, field: str, value: Any, /) -> SearchBuilder:
        self._use()
        return SearchBuilder(self.binding, self._index, self._texts, (*self._filters, (field, value)))

    def to_search(self, table: TableInfo) -> TextSearch:
        """The search that was described. Raises DatabaseError unless the index can answer it."""
        index = self._index
        query = f"Search query against {self.binding.name}.{index.name}"
        plan = self.binding.plan(index)
        search_field, *filter_fields = index.fields
        texts = list(self._texts)
        if not texts:
            raise DatabaseError(
                f"{query} does not contain any search filters. You must include a search filter like "
                f'`q.search("{search_field}", search_text)`.',
                code="MissingSearchFilterError",
            )
        if len(texts) > 1:
            raise DatabaseError(
                f"{query} contains multiple search filters. Search for one text, with all of its words.",
                code="DuplicateSearchFiltersError",
            )
        field, text = texts[0]
        if plan.wire_name(field) != search_field:
            raise DatabaseError(
                f'{query} contains a search filter against "{field}", which doesn\'t match the indexed `searchField` '
                f'"{search_field}".',
                code="IncorrectSearchField",
            )
        if len(self._filters) > SEARCH_MAX_FILTERS:
            raise DatabaseError(
                f"{query} has too many filter conditions. Max: {SEARCH_MAX_FILTERS} Actual: {len(self._filters)}",
                code="TooManyFilterConditionsInSearchQueryError",
            )
        filters: list[tuple[int, str]] = []
        for name, value in self._filters:
            wire = plan.wire_name(name)
            if wire not in filter_fields:
                raise DatabaseError(
                    f'{query} contains an equality filter on "{name}" but that field isn\'t indexed for filtering in '
                    "`filterFields`.",
                    code="IncorrectFilterFieldError",
                )
            operand = plan.operand(plan.fields.index(wire, 1), value)
            filters.append(text_filter(filter_fields.index(wire), operand))
        return TextSearch(table, index, make_query(text, [token for _, token in filters]), tuple(filters))


def build_search(binding: TableBinding, table: TableInfo, index: IndexInfo, describe: Any) -> TextSearch:
    """Run the user's lambda and take what it built. Raises DatabaseError."""
    built = describe(SearchBuilder(binding, index))
    if not isinstance(built, SearchBuilder):
        raise DatabaseError(
            "A search is described by a lambda that returns the builder, as in "
            f'`lambda q: q.search("field", text).eq("filter", value)`; this one returned {type(built).__name__}.'
        )
    return built.to_search(table)
