"""Tokens that were tampered with, in any way: refused, and never anything but refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.utils import base64url_decode, base64url_encode

from reactor.auth.authenticator import AuthenticationError
from reactor.auth.keys import KeyStore
from reactor.auth.providers import JwtProvider, OidcProvider
from reactor.auth.tokens import TokenVerifier
from reactor.clock import ManualClock
from reactor.testing import TestIssuer

ISSUER = "https://issuer.example"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
CLAIM_NAMES = st.sampled_from(
    ["iss", "sub", "aud", "exp", "nbf", "iat", "email", "email_verified", "address", "updated_at"]
)
HEADER_NAMES = st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "jku", "cty", "zip", "enc"])


class Place:
    """An issuer of each kind, without a network."""

    def __init__(self) -> None:
        self.issuer = TestIssuer(algorithm="EdDSA", clock=ManualClock(), port=1)
        jwks = self.issuer.jwks

        async def fetch(url: str) -> bytes:
            return json.dumps(
                {"issuer": ISSUER, "jwks_uri": ISSUER} if url.endswith("configuration") else jwks
            ).encode()

        providers = [
            OidcProvider(domain=ISSUER, application_id="oidc"),
            JwtProvider(issuer=ISSUER, jwks=jwks, algorithm="EdDSA", application_id="custom"),
        ]
        self.verifier = TokenVerifier(providers, KeyStore(fetch=fetch), ManualClock(), redact=False)

    def token(self, aud: str, **claims: Any) -> str:
        return self.issuer.token("ann", **{"iss": ISSUER, "aud": aud, **claims})

    async def accepts(self, token: str) -> bool:
        """Whether it is taken. Anything but a refusal fails the test."""
        try:
            caller = await self.verifier.authenticate(token)
        except AuthenticationError as refused:
            if refused.status != 401:
                raise
            return False
        assert caller.user is not None
        json.dumps(caller.user.to_value())
        return True


@pytest.fixture(scope="module")
def place() -> Place:
    return Place()


@pytest.mark.parametrize("aud", ["oidc", "custom"])
@given(data=st.data())
@settings(max_examples=300, deadline=None)
async def test_a_changed_token_is_refused(place: Place, aud: str, data: st.DataObject) -> None:
    token = place.token(aud)
    assert await place.accepts(token)
    at = data.draw(st.integers(0, len(token) - 1))
    kind = data.draw(st.sampled_from(["replace", "insert", "delete", "cut", "twice"]))
    letter = data.draw(st.sampled_from("ABab01-_.=/+ \n") | st.characters())
    changed = {
        "replace": token[:at] + letter + token[at + 1 :],
        "insert": token[:at] + letter + token[at:],
        "delete": token[:at] + token[at + 1 :],
        "cut": token[:at],
        "twice": token + token[at:],
    }[kind]
    if changed != token:
        assert not await place.accepts(changed)


@pytest.mark.parametrize("aud", ["oidc", "custom"])
@given(claims=st.dictionaries(CLAIM_NAMES | st.text(max_size=12), JSON, max_size=4))
@settings(max_examples=300, deadline=None)
async def test_signed_claims_of_any_kind_are_taken_or_refused(place: Place, aud: str, claims: dict[str, Any]) -> None:
    """`iss`, `sub` and times of the wrong type never make a caller."""
    base = {"iss": ISSUER, "sub": "ann", "aud": aud, "exp": 2_000_000_000}
    taken = await place.accepts(place.issuer.sign({**base, **claims}))
    if taken:
        assert claims.get("iss", ISSUER) in (ISSUER, ISSUER + "/")
        assert isinstance(claims.get("sub", "ann"), str)
        assert not isinstance(claims.get("exp", 0), str | list | dict | bool)


@given(headers=st.dictionaries(HEADER_NAMES, JSON, min_size=1, max_size=3), signature=st.binary(max_size=70))
@settings(max_examples=300, deadline=None)
async def test_headers_of_any_kind_are_refused_without_the_signature(
    place: Place, headers: dict[str, Any], signature: bytes
) -> None:
    signed_header, payload, _ = place.token("oidc").split(".")
    header = base64url_encode(json.dumps({**json.loads(base64url_decode(signed_header)), **headers}).encode()).decode()
    assert not await place.accepts(f"{header}.{payload}.{base64url_encode(signature).decode()}")
