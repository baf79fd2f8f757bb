"""The filters of a dashboard's table page: base64 of JSON, `{"clauses": […], "order": …, "index": …}`.

A clause compares one field (`{"field", "op", "value", "enabled"}`); an index narrows the range that is read. What is wrong
with them is told in the place of documents, `{"filter": number of the clause or -1, "error": text}`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Literal

import msgspec

from reactor.admin.system.documents import ABSENT
from reactor.engine.ranges import IndexRange, make_range
from reactor.errors import InvalidValue
from reactor.store.catalogue import IndexInfo, TableInfo
from reactor.values import wire
from reactor.values.ids import table_number_of
from reactor.values.types import UNSET, Int64, compare

__all__ = ["Filters", "parse_filters"]

MAX_CLAUSES: Final = 100

Problem = dict[str, Any]
Predicate = Callable[[Mapping[str, Any]], bool]


class _Clause(msgspec.Struct, frozen=True):
    op: Literal["eq", "neq", "lt", "lte", "gt", "gte", "anyOf", "noneOf", "type", "notype"]
    field: str | None = None
    value: Any = msgspec.UNSET
    enabled: bool = True


class _IndexClause(msgspec.Struct, frozen=True, rename="camel"):
    type: Literal["indexEq", "indexRange"]
    enabled: bool = False
    value: Any = msgspec.UNSET
    lower_op: Literal["gt", "gte"] | None = None
    lower_value: Any = msgspec.UNSET
    upper_op: Literal["lt", "lte"] | None = None
    upper_value: Any = msgspec.UNSET


class _Index(msgspec.Struct, frozen=True):
    name: str
    clauses: list[_IndexClause] = []


class _Expression(msgspec.Struct, frozen=True):
    clauses: list[_Clause] = []
    order: Literal["asc", "desc"] = "desc"
    index: _Index | None = None


_decoder: Final = msgspec.json.Decoder(_Expression)


class Filters:
    """What a client asked for. Look at `problems` before anything else."""

    def __init__(self, text: str, expression: _Expression, problem: Problem | None = None) -> None:
        self.text = text
        self.order = expression.order
        self._index = expression.index
        self._problems = [] if problem is None else [problem]
        self._active = [
            (number, clause)
            for number, clause in enumerate(expression.clauses)
            if clause.enabled and clause.field is not None
        ]
        self._predicates: list[Predicate] = []
        for number, clause in self._active:
            try:
                self._predicates.append(_predicate(clause))
            except InvalidValue:
                self._problems.append(_problem(number, f"Invalid value: {_shown(clause.value)}."))

    @property
    def only_id(self) -> str | None:
        """The id that the document must have, when that is all that is asked."""
        if len(self._active) != 1 or self._index is not None:
            return None
        clause = self._active[0][1]
        return clause.value if clause.field == "_id" and clause.op == "eq" and isinstance(clause.value, str) else None

    @property
    def are_selective(self) -> bool:
        """Whether there are documents that `keeps` may leave out."""
        return bool(self._predicates)

    def keeps(self, document: Mapping[str, Any]) -> bool:
        return all(predicate(document) for predicate in self._predicates)

    def problems(self, table: TableInfo) -> list[Problem]:
        """What is wrong, each with the number of its clause, or -1."""
        if self._problems or self._index is None:
            return self._problems
        found = self._index_problem(table, self._index)
        return [] if found is None else [_problem(-1, found)]

    def _index_problem(self, table: TableInfo, asked: _Index) -> str | None:
        index = table.indexes.get(asked.name)
        if index is None or index.state != "ready":
            return f"Index {asked.name} does not exist."
        fields = _fields(index)
        if len(asked.clauses) > len(fields):
            return f"Index {asked.name} has {len(fields)} fields, but the query has {len(asked.clauses)} clauses."
        enabled = [clause.enabled for clause in asked.clauses]
        used = sum(enabled)
        if not all(enabled[:used]):
            return "Invalid index filter selection - found an enabled clause after an disabled clause."
        if any(clause.type == "indexRange" for clause in asked.clauses[: max(0, used - 1)]):
            return "Invalid index filter selection - found a range filter before another filter."
        try:
            self.range_of(table)
        except InvalidValue as error:
            return f"Invalid value in the filter of index {asked.name}: {error}"
        return None

    def range_of(self, table: TableInfo) -> IndexRange | None:
        """The part of an index that holds all that is wanted; None for the whole table."""
        asked = self._index
        if asked is None:
            return None
        prefix: list[Any] = []
        lower = upper = None
        for clause in asked.clauses:
            if not clause.enabled:
                break
            if clause.type == "indexEq":
                prefix.append(_operand(clause.value))
                continue
            if clause.lower_op is not None:
                lower = (_operand(clause.lower_value), clause.lower_op == "gte")
            if clause.upper_op is not None:
                upper = (_operand(clause.upper_value), clause.upper_op == "lte")
        return make_range(table.indexes[asked.name], prefix, lower, upper)


def parse_filters(text: str | None) -> Filters:
    """What stands in the argument `filters`; nothing is raised, see `Filters.problems`."""
    if not text:
        return Filters("", _Expression())
    try:
        raw = base64.b64decode(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4), validate=True)
        expression = _decoder.decode(raw)
    except (binascii.Error, ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        return Filters(text, _Expression(), _problem(-1, f"The filters can't be read: {error}"))
    if len(expression.clauses) > MAX_CLAUSES:
        return Filters(text, _Expression(), _problem(-1, f"There are more than {MAX_CLAUSES} filters."))
    return Filters(text, expression)


def _problem(number: int, error: str) -> Problem:
    return {"filter": number, "error": error}


def _shown(value: Any) -> str:
    return msgspec.json.encode(value).decode()[:200]


def _fields(index: IndexInfo) -> tuple[str, ...]:
    return ("_id",) if index.is_by_id else (*index.fields, "_creationTime")


def _operand(value: Any) -> Any:
    """The value that JSON stands for, UNSET for an absent one. Raises InvalidValue."""
    if value is msgspec.UNSET or value == ABSENT:
        return UNSET
    return wire.from_json(value)


def _predicate(clause: _Clause) -> Predicate:
    path = (clause.field or "").split(".")
    if clause.op in ("type", "notype"):
        kind = clause.value
        if kind is msgspec.UNSET:
            return _everything
        if not isinstance(kind, str) or kind not in _KINDS:
            raise InvalidValue("no kind of value")
        return partial(_has_kind, path, _KINDS[kind], clause.op == "type")
    if clause.op in ("anyOf", "noneOf"):
        given = [] if clause.value is msgspec.UNSET else clause.value
        if not isinstance(given, list):
            raise InvalidValue("no list")
        values = [_operand(value) for value in given]
        return partial(_is_among, path, values, clause.op == "anyOf") if values else _everything
    return partial(_compares, path, _operand(clause.value), _COMPARISONS[clause.op])


def _everything(document: Mapping[str, Any]) -> bool:
    """What a clause keeps that nobody has filled in yet."""
    return True


def _compares(path: list[str], operand: Any, wanted: Callable[[int], bool], document: Mapping[str, Any]) -> bool:
    return wanted(compare(_at(document, path), operand))


def _is_among(path: list[str], operands: list[Any], wanted: bool, document: Mapping[str, Any]) -> bool:
    value = _at(document, path)
    return any(compare(value, operand) == 0 for operand in operands) is wanted


def _has_kind(path: list[str], is_kind: Callable[[Any], bool], wanted: bool, document: Mapping[str, Any]) -> bool:
    return is_kind(_at(document, path)) is wanted


def _at(document: Any, path: list[str]) -> Any:
    value = document
    for name in path:
        if not isinstance(value, dict):
            return UNSET
        value = value.get(name, UNSET)
    return value


_COMPARISONS: Final[dict[str, Callable[[int], bool]]] = {
    "eq": lambda order: order == 0,
    "neq": lambda order: order != 0,
    "lt": lambda order: order < 0,
    "lte": lambda order: order <= 0,
    "gt": lambda order: order > 0,
    "gte": lambda order: order >= 0,
}

_KINDS: Final[dict[str, Callable[[Any], bool]]] = {
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool | Int64),
    "bigint": lambda value: isinstance(value, Int64),
    "null": lambda value: value is None,
    "id": lambda value: isinstance(value, str) and table_number_of(value) is not None,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
    "bytes": lambda value: isinstance(value, bytes),
    "unset": lambda value: value is UNSET,
}
