"""Server-semantics 1.1: what each validator takes, with its JSON, its rendering, and the error texts with their paths.

Conformance checklist 2, 6, 7 and 8.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.errors import InvalidValue, SchemaError
from reactor.schema import v
from reactor.schema.spec import validator_from_json
from reactor.schema.validators import Float64, Object, Validator, union_of
from reactor.values.types import Int64
from tests.unit.schema.samples import GONE_ID, MESSAGE_ID, PROJECT_ID, STORAGE_ID, resolve

ONE_OF_EACH: dict[str, Any] = {
    "null": None,
    "true": True,
    "false": False,
    "int": 3,
    "float": 2.5,
    "nan": math.nan,
    "infinity": math.inf,
    "minus zero": -0.0,
    "int64": Int64(3),
    "string": "text",
    "project": PROJECT_ID,
    "bytes": b"\x00",
    "list": [1, "a"],
    "empty list": [],
    "object": {"a": 1},
    "empty object": {},
}
NUMBERS = {"int", "float", "nan", "infinity", "minus zero"}

CASES: list[tuple[Validator, set[str]]] = [
    (v.any(), set(ONE_OF_EACH)),
    (v.null(), {"null"}),
    (v.boolean(), {"true", "false"}),
    (v.number(), NUMBERS),
    (v.float64(), NUMBERS),
    (Float64(integral=True), {"int", "minus zero"}),
    (v.int64(), {"int64"}),
    (v.bigint(), {"int64"}),
    (v.string(), {"string", "project"}),
    (v.bytes(), {"bytes"}),
    (v.id("projects"), {"project"}),
    (v.literal("text"), {"string"}),
    (v.literal(3), {"int"}),
    (v.literal(3.0), {"int"}),
    (v.literal(Int64(3)), {"int64"}),
    (v.literal(True), {"true"}),
    (v.literal(0), set()),
    (v.array(v.any()), {"list", "empty list"}),
    (v.array(v.string()), {"empty list"}),
    (v.object({}), {"empty object"}),
    (v.object({"a": v.number()}), {"object"}),
    (v.object({"a": v.optional(v.number())}), {"object", "empty object"}),
    (v.object({"b": v.optional(v.number())}), {"empty object"}),
    (v.record(v.string(), v.number()), {"object", "empty object"}),
    (v.record(v.string(), v.string()), {"empty object"}),
    (v.union(), set()),
    (v.union(v.string(), v.null()), {"string", "project", "null"}),
    (v.nullable(v.string()), {"string", "project", "null"}),
]


@pytest.mark.parametrize(
    ("validator", "accepted"), CASES, ids=lambda case: case.render() if isinstance(case, Validator) else ""
)
def test_each_validator_takes_exactly_its_values(validator: Validator, accepted: set[str]) -> None:
    assert {name for name, value in ONE_OF_EACH.items() if validator.accepts(value, resolve)} == accepted


JSON: list[tuple[Validator, dict[str, Any]]] = [
    (v.id("t"), {"type": "id", "tableName": "t"}),
    (v.null(), {"type": "null"}),
    (v.number(), {"type": "number"}),
    (v.int64(), {"type": "bigint"}),
    (v.boolean(), {"type": "boolean"}),
    (v.string(), {"type": "string"}),
    (v.bytes(), {"type": "bytes"}),
    (v.any(), {"type": "any"}),
    (v.literal("x"), {"type": "literal", "value": "x"}),
    (v.literal(True), {"type": "literal", "value": True}),
    (v.literal(1), {"type": "literal", "value": 1}),
    (v.literal(Int64(1)), {"type": "literal", "value": {"$integer": "AQAAAAAAAAA="}}),
    (v.array(v.string()), {"type": "array", "value": {"type": "string"}}),
    (
        v.object({"f": v.string(), "g": v.optional(v.null())}),
        {
            "type": "object",
            "value": {
                "f": {"fieldType": {"type": "string"}, "optional": False},
                "g": {"fieldType": {"type": "null"}, "optional": True},
            },
        },
    ),
    (
        v.record(v.id("t"), v.number()),
        {
            "type": "record",
            "keys": {"type": "id", "tableName": "t"},
            "values": {"fieldType": {"type": "number"}, "optional": False},
        },
    ),
    (v.union(v.string(), v.null()), {"type": "union", "value": [{"type": "string"}, {"type": "null"}]}),
    (v.nullable(v.string()), {"type": "union", "value": [{"type": "string"}, {"type": "null"}]}),
]


@pytest.mark.parametrize(
    ("validator", "json"), JSON, ids=lambda case: case.render() if isinstance(case, Validator) else ""
)
def test_validators_have_convex_json_and_come_back_from_it(validator: Validator, json: dict[str, Any]) -> None:
    assert validator.json() == json
    assert validator_from_json(json) == validator


def refused(validator: Validator, value: Any, path: str = "") -> InvalidValue:
    with pytest.raises(InvalidValue) as caught:
        validator.check(value, resolve, path)
    return caught.value


def test_a_missing_field_is_reported_with_object_and_validator() -> None:
    error = refused(v.object({"f": v.string()}), {})
    assert str(error) == (
        "Object is missing the required field `f`. Consider wrapping the field validator in `v.optional(...)` "
        "if this is expected.\n\nObject: {}\nValidator: v.object({f: v.string()})"
    )
    assert error.path == ""
    assert error.expected == "v.string()"


def test_an_extra_field_is_reported_wherever_the_object_stands() -> None:
    validator = v.object({"a": v.array(v.object({"b": v.number()}))})
    error = refused(validator, {"a": [{"b": 1}, {"b": 2, "c": "x"}]})
    assert str(error) == (
        "Object contains extra field `c` that is not in the validator.\nPath: .a[1]\n"
        'Object: {b: 2.0, c: "x"}\nValidator: v.object({b: v.float64()})'
    )
    assert error.path == ".a[1]"


def test_a_wrong_value_shows_value_and_validator() -> None:
    error = refused(v.object({"a": v.number()}), {"a": "1"})
    assert str(error) == 'Value does not match validator.\nPath: .a\nValue: "1"\nValidator: v.float64()'
    assert (error.path, error.expected, error.got) == (".a", "v.float64()", '"1"')


def test_a_wrong_literal_names_both() -> None:
    assert str(refused(v.literal("x"), "y")) == '`"y"` does not match literal validator `v.literal("x")`.'
    assert (
        str(refused(v.array(v.literal(1)), [2])) == "`2.0` does not match literal validator `v.literal(1.0)`.Path: [0]"
    )


def test_an_id_of_another_table_names_both_tables() -> None:
    assert str(refused(v.object({"p": v.id("projects")}), {"p": MESSAGE_ID})) == (
        f'Found ID "{MESSAGE_ID}" from table `messages`, which does not match the table name in validator '
        '`v.id("projects")`.Path: .p'
    )


def test_an_id_of_a_system_table_is_called_so() -> None:
    assert str(refused(v.id("projects"), STORAGE_ID)) == (
        f'Found ID "{STORAGE_ID}" from a system table, which does not match the table name in validator `v.id("projects")`.'
    )
    assert v.id("_storage").accepts(STORAGE_ID, resolve)


@pytest.mark.parametrize("text", ["", "hello", PROJECT_ID[:-1], PROJECT_ID.upper(), GONE_ID])
def test_text_that_is_no_id_of_a_living_table_does_not_match(text: str) -> None:
    assert str(refused(v.id("projects"), text)).startswith("Value does not match validator.\n")


def test_records_report_keys_and_values_by_their_own_paths() -> None:
    validator = v.record(v.id("projects"), v.number())
    assert refused(validator, {"x": 1}).path == ".keys()"
    assert refused(validator, {PROJECT_ID: "1"}).path == ".values()"


def test_a_union_of_one_reports_its_member_and_a_larger_one_itself() -> None:
    assert str(refused(v.union(v.literal("a")), "b")).startswith("`")
    error = refused(v.union(v.object({"k": v.literal("a")}), v.object({"k": v.literal("b")})), {"k": "c"})
    assert str(error) == (
        'Value does not match validator.\n\nValue: {k: "c"}\n'
        'Validator: v.union(v.object({k: v.literal("a")}), v.object({k: v.literal("b")}))'
    )


def test_declared_fields_are_checked_in_name_order_before_extra_ones() -> None:
    validator = v.object({"b": v.string(), "a": v.string()})
    assert "`a`" in str(refused(validator, {"z": 1}))
    assert refused(validator, {"a": 1, "b": 2, "z": 1}).path == ".a"


def test_the_path_given_stands_in_front() -> None:
    assert refused(v.array(v.string()), [1], ".args").path == ".args[0]"


def test_whole_numbers_say_what_is_wrong_and_name_int64() -> None:
    whole = Float64(integral=True)
    assert "whole number" in str(refused(whole, 3.5))
    assert "Int64" in str(refused(whole, 2.0**60))
    assert whole.accepts(3.0)
    assert whole.accepts(2**53)


def test_rendering_shows_values_as_javascript_has_them() -> None:
    value = {"a": 1, "b": "x", "c": [None, True, Int64(7), math.nan, b"abc"]}
    assert refused(v.string(), value).got == '{a: 1.0, b: "x", c: [null, true, 7, NaN, bytes(3)]}'


def test_an_error_about_a_large_value_stays_small() -> None:
    assert len(str(refused(v.string(), ["x" * 10_000] * 100))) < 2_000
    assert refused(v.null(), "x" * 10_000).got.endswith("…")


def test_rendering_of_validators_reads_like_convex() -> None:
    validator = v.object(
        {
            "i": v.id("users"),
            "o": v.optional(v.string()),
            "n": v.int64(),
            "r": v.record(v.string(), v.any()),
            "u": v.union(v.null(), v.literal(Int64(5))),
        }
    )
    assert validator.render() == (
        'v.object({i: v.id("users"), n: v.int64(), o: v.optional(v.string()), '
        "r: v.record(v.string(), v.any()), u: v.union(v.null(), v.literal(5))})"
    )


# --- building -------------------------------------------------------------------------------------------------------


def test_pick_omit_partial_and_extend_keep_the_flags_of_fields() -> None:
    base = v.object({"a": v.string(), "b": v.optional(v.number())})
    assert base.pick("b") == v.object({"b": v.optional(v.number())})
    assert base.omit("b", "unknown") == v.object({"a": v.string()})
    assert base.partial() == v.object({"a": v.optional(v.string()), "b": v.optional(v.number())})
    assert base.extend({"b": v.null(), "c": v.any()}) == v.object({"a": v.string(), "b": v.null(), "c": v.any()})
    assert set(base.fields) == {"a", "b"}


def test_pick_of_an_unknown_field_is_an_error() -> None:
    with pytest.raises(SchemaError, match="no field 'z'"):
        v.object({"a": v.string()}).pick("z")


def test_every_validator_has_optional() -> None:
    assert v.object({"a": v.string().optional()}) == v.object({"a": v.optional(v.string())})
    assert v.string().optional().is_optional
    assert not v.string().is_optional
    assert v.optional(v.optional(v.string())) == v.optional(v.string())


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: v.literal(None), r"v.literal\(value\) must be a string, number, or boolean"),  # pyright: ignore
        (lambda: v.literal(math.nan), "can't be a literal"),
        (lambda: v.id(3), r"v.id\(tableName\) requires a string"),  # pyright: ignore
        (lambda: v.object({"a": str}), "must be validators"),  # pyright: ignore
        (lambda: v.object({"a b": v.string()}), "Use a record for free keys"),
        (lambda: v.union(str), "must be validators"),  # pyright: ignore
        (lambda: v.array("string"), "needs a validator"),  # pyright: ignore
        (lambda: v.record(v.string(), v.optional(v.string())), "cannot have optional values"),  # pyright: ignore
        (lambda: v.record(v.optional(v.string()), v.string()), "cannot have optional keys"),  # pyright: ignore
        (lambda: v.record(v.number(), v.string()), "Records can only have string keys"),
    ],
)
def test_wrong_building_is_a_schema_error(build: Any, text: str) -> None:
    with pytest.raises(SchemaError, match=text):
        build()


def test_unions_from_annotations_are_flat_and_without_repetition() -> None:
    assert union_of([v.string(), v.union(v.null(), v.string())]) == v.union(v.string(), v.null())
    assert union_of([v.string(), v.string()]) == v.string()


def test_literals_of_different_types_are_different() -> None:
    assert v.literal(True) != v.literal(1)
    assert v.literal(1) == v.literal(1.0)
    assert v.literal(Int64(1)) != v.literal(1)


def validators() -> st.SearchStrategy[Validator]:
    leaves = st.sampled_from(
        [
            v.any(),
            v.null(),
            v.number(),
            v.int64(),
            v.boolean(),
            v.string(),
            v.bytes(),
            v.id("t"),
            v.literal("x"),
            v.literal(1),
        ]
    )

    def containers(inner: st.SearchStrategy[Validator]) -> st.SearchStrategy[Validator]:
        fields = st.dictionaries(st.sampled_from("abcd"), st.tuples(inner, st.booleans()), max_size=3)
        return st.one_of(
            inner.map(v.array),
            inner.map(lambda one: v.record(v.string(), one)),
            st.lists(inner, max_size=3).map(lambda members: v.union(*members)),
            fields.map(Object),
        )

    return st.recursive(leaves, containers, max_leaves=8)


@given(validators())
def test_any_validator_survives_its_json(validator: Validator) -> None:
    assert validator_from_json(validator.json()) == validator
    assert hash(validator_from_json(validator.json())) == hash(validator)


@given(validators())
def test_exact_json_also_keeps_which_numbers_must_be_whole(validator: Validator) -> None:
    assert validator_from_json(validator.json(exact=True)) == validator


def test_exact_json_differs_from_convex_json_in_whole_numbers_only() -> None:
    whole = v.object({"a": v.array(Float64(integral=True)), "b": v.optional(v.number())})
    assert validator_from_json(whole.json(exact=True)) == whole
    assert validator_from_json(whole.json()) != whole
    assert (
        v.object({"b": v.record(v.string(), v.number())}).json(exact=True)
        == v.object({"b": v.record(v.string(), v.number())}).json()
    )


@pytest.mark.parametrize("data", [{}, {"type": "set"}, {"type": "id"}, {"type": "object", "value": 3}])
def test_json_that_describes_no_validator_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        validator_from_json(data)
