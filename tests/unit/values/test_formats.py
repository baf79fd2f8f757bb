"""The HTTP formats (client-protocol 3.3 and rule 15)."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from reactor.values import wire
from reactor.values.formats import clean_json, encoded_json, export_json
from reactor.values.types import Int64

EVERYTHING = wire.encode(
    {
        "bytes": b"\1\2\3",
        "int64": Int64(33),
        "list": [1, -2, 1.5, 0, {"n": 3, "s": "4,5"}, [6]],
        "nan": math.nan,
        "inf": [math.inf, -math.inf, -0.0],
        "text": 'a:1,2]"[3,4}\\',
        "none": None,
        "yes": True,
    }
)


def test_encoded_json_prints_whole_numbers_with_a_point() -> None:
    text = encoded_json(EVERYTHING)
    assert b'"list":[1.0,-2.0,1.5,0.0,{"n":3.0,"s":"4,5"},[6.0]]' in text
    assert b'"int64":{"$integer":"IQAAAAAAAAA="}' in text
    assert json.loads(text) == json.loads(EVERYTHING)


@pytest.mark.parametrize(
    ("raw", "printed"),
    [
        (b"3", b"3.0"),
        (b"-3", b"-3.0"),
        (b"1.5", b"1.5"),
        (b"1e300", b"1e300"),
        (b"[]", b"[]"),
        (b"null", b"null"),
        (b"[0]", b"[0.0]"),
        (b"[[0],0]", b"[[0.0],0.0]"),
        (b'{"a":{"b":9007199254740992}}', b'{"a":{"b":9007199254740992.0}}'),
        (b'"1"', b'"1"'),
        (b'["12:30, 4,5,6]"]', b'["12:30, 4,5,6]"]'),
        (b'["","1,2,3"]', b'["","1,2,3"]'),
    ],
)
def test_only_numbers_change_in_encoded_json(raw: bytes, printed: bytes) -> None:
    assert encoded_json(raw) == printed


def test_clean_json_has_no_special_forms() -> None:
    assert json.loads(clean_json(EVERYTHING)) == {
        "bytes": "AQID",
        "int64": "33",
        "list": [1, -2, 1.5, 0, {"n": 3, "s": "4,5"}, [6]],
        "nan": "NaN",
        "inf": ["Infinity", "-Infinity", 0],
        "text": 'a:1,2]"[3,4}\\',
        "none": None,
        "yes": True,
    }
    assert b"-0.0" in clean_json(EVERYTHING)


def test_export_json_has_integers_for_int64_and_points_for_numbers() -> None:
    text = export_json(EVERYTHING)
    assert b'"int64":33,' in text
    assert b'"list":[1.0,-2.0,1.5,0.0,{"n":3.0,"s":"4,5"},[6.0]]' in text
    assert b'"inf":[{"$float":"AAAAAAAA8H8="},{"$float":"AAAAAAAA8P8="},{"$float":"AAAAAAAAAIA="}]' in text
    assert b'"bytes":{"$bytes":"AQID"}' in text
    assert export_json(b'{"a":1,"b":true}') == b'{"a":1.0,"b":true}'
    assert export_json(wire.encode(Int64(-(2**63)))) == b"-9223372036854775808"


@pytest.mark.parametrize("value", [None, "x", [True, "a"], {"a": 1.5}, {"time": "12:30"}])
def test_what_needs_no_change_comes_back_as_it_is(value: Any) -> None:
    raw = wire.encode(value)
    assert encoded_json(raw) is raw
    assert clean_json(raw) is raw
    assert export_json(raw) is raw
