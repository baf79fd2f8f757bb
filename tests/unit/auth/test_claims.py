"""client-protocol 6.3 and 30, server-semantics 9.1 and 44: what functions see of a token."""

from __future__ import annotations

import re
from typing import Any

import pytest

from reactor.auth.claims import custom_identity, oidc_identity
from reactor.auth.identity import make_caller

TOKEN: dict[str, Any] = {
    "iss": "https://issuer.example/",
    "sub": "user1",
    "aud": "app",
    "exp": 2_000_000_000,
    "iat": 1_000_000_000,
    "nbf": 1_000_000_000,
    "jti": "one of a kind",
    "fva": [1, -1],
}

STANDARD = {
    "name": ("name", "Ann Lee"),
    "given_name": ("givenName", "Ann"),
    "family_name": ("familyName", "Lee"),
    "nickname": ("nickname", "annie"),
    "preferred_username": ("preferredUsername", "ann"),
    "profile": ("profileUrl", "https://x.example/ann"),
    "picture": ("pictureUrl", "https://x.example/ann.png"),
    "website": ("websiteUrl", "https://ann.example"),
    "email": ("email", "ann@example.com"),
    "email_verified": ("emailVerified", True),
    "gender": ("gender", "female"),
    "birthdate": ("birthday", "1990-01-01"),
    "zoneinfo": ("timezone", "Europe/Paris"),
    "locale": ("language", "fr"),
    "phone_number": ("phoneNumber", "+33 1"),
    "phone_number_verified": ("phoneNumberVerified", False),
}


def test_standard_claims_get_their_camel_case_names() -> None:
    user = oidc_identity({**TOKEN, **{name: value for name, (_, value) in STANDARD.items()}})
    assert user.to_value() == {
        "issuer": "https://issuer.example/",
        "subject": "user1",
        "tokenIdentifier": "https://issuer.example/|user1",
        **dict(STANDARD.values()),
    }
    for wire_name, value in STANDARD.values():
        python_name = re.sub("[A-Z]", lambda letter: "_" + letter[0].lower(), wire_name)
        assert getattr(user, python_name) == value


def test_absent_claims_are_absent_keys() -> None:
    user = oidc_identity({**TOKEN, "email": None, "name": None})
    assert set(user.to_value()) == {"issuer", "subject", "tokenIdentifier"}
    assert user.email is None


@pytest.mark.parametrize("make", [oidc_identity, custom_identity])
def test_what_differs_in_each_token_is_dropped_so_that_a_refresh_is_the_same_identity(make: Any) -> None:
    other = {
        **TOKEN,
        "exp": 2_000_000_500,
        "iat": 1_000_000_500,
        "nbf": 5,
        "jti": "another",
        "fva": [2, -1],
        "aud": ["app"],
    }
    assert make_caller(make(TOKEN)) == make_caller(make(other))
    assert make_caller(make(TOKEN)) != make_caller(make({**TOKEN, "role": "editor"}))
    assert make(TOKEN).claims == {}


def test_other_claims_of_oidc_keep_their_names_and_values() -> None:
    own = {
        "org_id": "o1",
        "https://app.example/roles": ["a", "b"],
        "meta": {"deep": {"x": 1}},
        "nothing": None,
        "amr": ["mfa"],
    }
    assert oidc_identity({**TOKEN, **own}).claims == own


def test_other_claims_of_custom_tokens_are_flattened_with_dots() -> None:
    user = custom_identity(
        {**TOKEN, "properties": {"id": "p1", "inner": {"flag": True}, "list": [{"a": 1}], "empty": {}}, "role": "x"}
    )
    assert user.claims == {
        "properties.id": "p1",
        "properties.inner.flag": True,
        "properties.list": [{"a": 1}],
        "role": "x",
    }
    assert user.to_value()["tokenIdentifier"] == "https://issuer.example/|user1"


def test_custom_tokens_have_no_camel_case_mapping() -> None:
    assert custom_identity({**TOKEN, "given_name": "Ann", "email": "a@b"}).claims == {
        "given_name": "Ann",
        "email": "a@b",
    }


@pytest.mark.parametrize("make", [oidc_identity, custom_identity])
def test_claims_cannot_pose_as_subject_issuer_or_token_identifier(make: Any) -> None:
    forged = {
        "subject": "admin",
        "issuer": "https://other",
        "tokenIdentifier": "https://other|admin",
        "token_identifier": "x",
    }
    value = make({**TOKEN, **forged}).to_value()
    assert value["subject"] == "user1"
    assert value["issuer"] == "https://issuer.example/"
    assert value["tokenIdentifier"] == "https://issuer.example/|user1"


def test_a_custom_claim_does_not_overrule_the_standard_one_of_its_name() -> None:
    assert oidc_identity({**TOKEN, "email_verified": False, "emailVerified": True}).email_verified is False


@pytest.mark.parametrize(("given", "shown"), [("true", True), ("false", False), (True, True), ("yes", None), (1, None)])
def test_flags_are_booleans(given: Any, shown: bool | None) -> None:
    user = oidc_identity({**TOKEN, "email_verified": given})
    assert user.email_verified is shown
    assert user.claims.get("emailVerified") is shown


def test_standard_claims_of_the_wrong_type_are_left_out() -> None:
    assert oidc_identity({**TOKEN, "name": 5, "email": ["a"], "address": 3, "updated_at": True}).claims == {}


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (1_700_000_000, "2023-11-14T22:13:20+00:00"),
        ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:20.000Z"),
        (1e300, None),
        (10**400, None),
    ],
)
def test_updated_at_is_text(given: Any, shown: str | None) -> None:
    assert oidc_identity({**TOKEN, "updated_at": given}).claims.get("updatedAt") == shown


def test_an_address_is_its_formatted_text() -> None:
    assert oidc_identity({**TOKEN, "address": {"formatted": "1 rue X", "country": "FR"}}).claims == {
        "address": "1 rue X"
    }


def test_large_numbers_are_what_javascript_makes_of_them() -> None:
    user = custom_identity({**TOKEN, "n": 2**53 + 1, "list": [2**60, 3, True]})
    assert user.claims == {"n": float(2**53), "list": [float(2**60), 3, True]}
    assert isinstance(user.claims["n"], float)
    assert isinstance(user.claims["list"][1], int)
