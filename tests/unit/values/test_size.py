"""Sizes, nesting and the limits of documents (server-semantics 0.3; checklist 3; client-protocol 50)."""

from __future__ import annotations

import enum
from typing import Any

import pytest

from reactor.errors import InvalidValue
from reactor.limits import MIB
from reactor.values import wire
from reactor.values.size import check_document_limits, human_bytes, nesting_of, size_of
from reactor.values.types import Int64


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


def document(**fields: Any) -> dict[str, Any]:
    return {"_id": "j57000820c20a1g7104gm2rc1m70ynr8", "_creationTime": 1.5, **fields}


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, 1),
        (True, 1),
        (3, 9),
        (3.5, 9),
        (Int64(3), 9),
        ("", 2),
        ("é", 4),
        ("\U00010000", 6),
        (b"abc", 5),
        ([], 2),
        ([1, "a"], 14),
        ({}, 2),
        ({"a": 1, "bc": "x"}, 19),
        (document(a=1), 74),
        (enum.StrEnum("E", {"A": "abc"})("abc"), 5),
    ],
)
def test_sizes_are_counted_as_documented(value: Any, size: int) -> None:
    assert size_of(value) == size


def test_what_is_no_value_has_no_size() -> None:
    with pytest.raises(InvalidValue, match="object is not a supported value"):
        size_of([object()])


@pytest.mark.parametrize(
    ("value", "levels"), [(None, 0), ("x", 0), ([], 1), ({}, 1), ({"a": [1, {"b": 1}]}, 3), (nested(64), 64)]
)
def test_nesting_counts_arrays_and_objects(value: Any, levels: int) -> None:
    assert nesting_of(value) == levels


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (MIB, "1 MiB"),
        (MIB * 5 // 4, "1.25 MiB"),
        (2048 * MIB, "2048 MiB"),
    ],
)
def test_sizes_read_well(count: int, text: str) -> None:
    assert human_bytes(count) == text


def test_a_document_of_exactly_one_mebibyte_may_be_stored_and_one_byte_more_may_not() -> None:
    empty = size_of(document(text=""))
    check_document_limits(document(text="x" * (MIB - empty)))
    with pytest.raises(InvalidValue, match=r"^Value is too large \(1048577 B > maximum size 1 MiB\)$") as caught:
        check_document_limits(document(text="x" * (MIB - empty + 1)))
    assert caught.value.code == "ValueTooLargeError"
    with pytest.raises(InvalidValue, match=r"^Value is too large \(2 MiB > maximum size 1 MiB\)$"):
        check_document_limits(document(text="x" * (2 * MIB)))


def test_a_document_may_have_sixteen_levels_itself_being_the_first() -> None:
    check_document_limits(document(a=nested(15)))
    with pytest.raises(
        InvalidValue, match=r"^Document is too nested \(nested 17 levels deep > maximum nesting 16\)$"
    ) as caught:
        check_document_limits(document(a=nested(16)))
    assert caught.value.code == "TooNestedError"


@pytest.mark.parametrize(
    "fields",
    [{"a": nested(16)}, {"a": [[1] * 8000] * 20}, {"a": "x" * MIB}, {"_b": 1}],
    ids=["deep", "wide", "long", "name"],
)
def test_knowing_the_json_of_a_document_changes_no_answer(fields: dict[str, Any]) -> None:
    doc = document(**fields)
    with pytest.raises(InvalidValue) as caught:
        check_document_limits(doc)
    with pytest.raises(InvalidValue) as again:
        check_document_limits(doc, wire.encode(doc))
    assert str(again.value) == str(caught.value)
    check_document_limits(document(a="{[" * 100), wire.encode(document(a="{[" * 100)))


def test_leading_underscores_are_the_systems_at_the_top_of_a_document_only() -> None:
    check_document_limits(document(a={"_b": 1}))
    with pytest.raises(InvalidValue, match=r"^Field '_b' starts with an underscore") as caught:
        check_document_limits(document(_b=1))
    assert caught.value.path == "._b"
