"""The naming rule of api.md, and what may be an identifier (server-semantics 0.2)."""

import pytest

from reactor.errors import SchemaError
from reactor.schema.naming import camel, did_you_mean, identifier_problem, refuse_collisions


@pytest.mark.parametrize(
    ("python", "wire"),
    [
        ("name", "name"),
        ("user_id", "userId"),
        ("list_", "list"),
        ("from_", "from"),
        ("aws_s3key", "awsS3key"),
        ("list_by_project", "listByProject"),
        ("userId", "userId"),
        ("HTTPServer", "HTTPServer"),
        ("html_URL", "htmlURL"),
        ("a__b", "aB"),
        ("x1_2y", "x12y"),
    ],
)
def test_identifiers_become_camel_case_by_one_rule(python: str, wire: str) -> None:
    assert camel(python) == wire


def test_only_one_trailing_underscore_is_dropped_and_only_first_letters_change() -> None:
    assert camel("list__") == "list"
    assert camel("s3_bucketName") == "s3BucketName"


@pytest.mark.parametrize("name", ["a", "_a", "a1", "A_b", "x" * 64])
def test_identifiers_of_letters_digits_and_underscores_are_good(name: str) -> None:
    assert identifier_problem(name) is None


@pytest.mark.parametrize("name", ["", "1a", "a b", "a-b", "é", "$a", "__", "x" * 65, "a\n"])
def test_other_names_are_no_identifiers(name: str) -> None:
    assert identifier_problem(name) is not None


def test_an_identifier_that_is_too_long_says_how_long_it_may_be() -> None:
    assert identifier_problem("x" * 65) == "Identifier is too long (65 > maximum 64)"


def test_two_names_that_collide_on_the_wire_are_an_error_that_names_both() -> None:
    with pytest.raises(SchemaError, match="'from_' and 'from' are both 'from' on the wire"):
        refuse_collisions([("from_", "from"), ("from", "from")], "here")


def test_a_name_that_is_close_is_suggested() -> None:
    assert did_you_mean("projct", ["project", "x"]) == " Did you mean 'project'?"
    assert did_you_mean("zzz", ["project"]) == ""
