"""client-protocol 30, 31, 35, 36 and server-semantics 44: which tokens are taken, and attacks that are refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt import PyJWK
from jwt.api_jws import PyJWS

from reactor.auth.authenticator import AuthenticationError
from reactor.auth.keys import UNKNOWN_BURST
from reactor.auth.providers import JwtProvider, OidcProvider
from reactor.auth.tokens import TOKEN_MAX_CHARS
from reactor.clock import ManualClock
from reactor.testing import TestIssuer

START_S = ManualClock().now_ns() // 1_000_000_000
Issuers = dict[str, TestIssuer]


def segment(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def parts(token: str) -> tuple[dict[str, Any], dict[str, Any], str]:
    header, payload, signature = token.split(".")
    return *(json.loads(base64.urlsafe_b64decode(part + "==")) for part in (header, payload)), signature  # type: ignore[return-value]


async def refused(verifier: Any, token: str) -> AuthenticationError:
    with pytest.raises(AuthenticationError) as error:
        await verifier.authenticate(token)
    assert error.value.status == 401
    return error.value


# ------------------------------------------------------------------------------------------------------------- accepted


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
async def test_an_oidc_token_proves_its_user(issuers: Issuers, verifier: Any, algorithm: str) -> None:
    issuer = issuers[algorithm]
    caller = await verifier(issuer.provider).authenticate(issuer.token("ann", given_name="Ann", org="o1"))
    assert caller.user.to_value() == {
        "subject": "ann",
        "issuer": issuer.url,
        "tokenIdentifier": f"{issuer.url}|ann",
        "givenName": "Ann",
        "org": "o1",
    }
    assert caller.expires_ns == (START_S + 3600) * 1_000_000_000
    assert not caller.is_admin


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_custom_token_proves_its_user(issuers: Issuers, verifier: Any, algorithm: str) -> None:
    issuer = issuers[algorithm]
    caller = await verifier(issuer.jwt_provider).authenticate(issuer.token("ann", given_name="Ann", p={"id": 1}))
    assert caller.user.claims == {"given_name": "Ann", "p.id": 1}


async def test_keys_may_be_inline(issuers: Issuers, verifier: Any) -> None:
    """client-protocol 36"""
    issuer = issuers["ES256"]
    provider = JwtProvider(issuer=issuer.url, jwks=issuer.jwks, algorithm="ES256")
    assert (await verifier(provider).authenticate(issuer.token("ann"))).user.subject == "ann"


@pytest.mark.parametrize("iss", ["https://i.example", "https://i.example/", "i.example", "i.example/"])
@pytest.mark.parametrize("configured", ["https://i.example", "https://i.example/", "i.example"])
async def test_the_issuer_may_differ_in_scheme_and_slash_and_is_shown_as_the_token_has_it(
    issuers: Issuers, verifier: Any, iss: str, configured: str
) -> None:
    """client-protocol 36"""
    issuer = issuers["EdDSA"]
    provider = JwtProvider(issuer=configured, jwks=issuer.jwks, algorithm="EdDSA")
    caller = await verifier(provider).authenticate(issuer.token("ann", iss=iss))
    assert caller.user.token_identifier == f"{iss}|ann"


@pytest.mark.parametrize("aud", ["test-app", ["test-app"]])
async def test_the_audience_is_a_text_or_a_list(issuers: Issuers, verifier: Any, aud: Any) -> None:
    """client-protocol 36"""
    for issuer, provider in (
        (issuers["RS256"], issuers["RS256"].provider),
        (issuers["ES256"], issuers["ES256"].provider),
    ):
        assert await verifier(provider).authenticate(issuer.token("ann", aud=aud))


async def test_a_custom_token_may_list_several_audiences_an_oidc_token_may_not(issuers: Issuers, verifier: Any) -> None:
    """server-semantics 9.2"""
    issuer = issuers["EdDSA"]
    token = issuer.token("ann", aud=["other", "test-app"])
    assert await verifier(issuer.jwt_provider).authenticate(token)
    error = await refused(verifier(issuer.provider), token)
    assert (error.code, "InvalidAudience" in str(error)) == ("Unauthenticated", True)


async def test_without_an_application_id_the_audience_of_custom_tokens_is_not_looked_at(
    issuers: Issuers, verifier: Any
) -> None:
    issuer = issuers["EdDSA"]
    provider = JwtProvider(issuer=issuer.url, jwks=issuer.jwks, algorithm="EdDSA")
    for aud in (None, "anything", ["a", "b"]):
        assert await verifier(provider).authenticate(issuer.token("ann", aud=aud))


async def test_the_first_provider_that_fits_issuer_and_audience_decides(issuers: Issuers, verifier: Any) -> None:
    """server-semantics 44"""
    issuer, other = issuers["EdDSA"], issuers["RS256"]
    providers = [
        OidcProvider(domain=issuer.url, application_id="first-app"),
        issuer.provider,
        JwtProvider(issuer=issuer.url, jwks=issuer.jwks, algorithm="EdDSA", application_id="third-app"),
        other.provider,
    ]
    made = verifier(*providers)
    for app in ("first-app", "test-app"):
        assert (await made.authenticate(issuer.token("a", aud=app, given_name="A"))).user.given_name == "A"
    assert (await made.authenticate(issuer.token("a", aud="third-app", given_name="A"))).user.given_name is None
    assert (await made.authenticate(other.token("a"))).user.issuer == other.url


async def test_an_oidc_token_need_not_name_its_key_while_there_is_one_only(verifier: Any) -> None:
    with TestIssuer(algorithm="EdDSA", clock=ManualClock()) as issuer:
        claims = parts(issuer.token("ann"))[1]
        key = issuer._key("EdDSA")[1]
        token = PyJWS().encode(json.dumps(claims).encode(), key, "EdDSA")
        assert "kid" not in parts(token)[0]
        assert await verifier(issuer.provider).authenticate(token)
        await refused(verifier(issuer.jwt_provider), token)


@pytest.mark.parametrize("typ", ["JWT", "jwt", "at+jwt", None])
async def test_types_of_tokens_that_name_a_user(issuers: Issuers, verifier: Any, typ: str | None) -> None:
    issuer = issuers["EdDSA"]
    token = issuer.sign(parts(issuer.token("ann"))[1], headers={"typ": typ})
    assert ("typ" in parts(token)[0]) is (typ is not None)
    assert await verifier(issuer.provider).authenticate(token)


async def test_equal_claims_are_one_identity_however_often_the_token_is_renewed(
    issuers: Issuers, verifier: Any, clock: ManualClock
) -> None:
    issuer = issuers["EdDSA"]
    made = verifier(issuer.provider)
    one = await made.authenticate(issuer.token("ann", name="Ann", jti="1"))
    two = await made.authenticate(issuer.token("ann", name="Ann", jti="2", exp=START_S + 9000, iat=START_S + 5))
    assert one == two
    assert one.expires_ns != two.expires_ns
    assert one != await made.authenticate(issuer.token("ann", name="Anne"))


# ----------------------------------------------------------------------------------------------------------------- times


@pytest.mark.parametrize("kind", ["provider", "jwt_provider"])
@pytest.mark.parametrize(
    ("claims", "problem"),
    [
        ({"exp": START_S - 4}, None),
        ({"exp": START_S - 5}, "Expired"),
        ({"exp": START_S - 4.9}, None),
        ({"exp": 0}, "Expired"),
        ({"exp": -1e300}, "Expired"),
        ({"exp": 10**300}, None),
        ({"exp": 10**400}, None),
        ({"exp": -(10**400)}, "Expired"),
        ({"nbf": START_S + 5}, None),
        ({"nbf": START_S + 6}, "NotYetValid"),
        ({"nbf": 1e300}, "NotYetValid"),
        ({"exp": None}, "MissingExpiry"),
        ({"exp": "2030-01-01"}, "InvalidClaims"),
        ({"exp": True}, "InvalidClaims"),
        ({"nbf": "x"}, "InvalidClaims"),
        ({"sub": None}, "MissingSubject"),
        ({"sub": ""}, "MissingSubject"),
        ({"sub": 5}, "MissingSubject"),
    ],
)
async def test_times_are_checked_with_five_seconds_to_spare(
    issuers: Issuers, verifier: Any, kind: str, claims: dict[str, Any], problem: str | None
) -> None:
    """client-protocol 36"""
    issuer = issuers["EdDSA"]
    made, token = verifier(getattr(issuer, kind)), issuer.token("ann", **claims)
    if problem is None:
        assert await made.authenticate(token)
        return
    error = await refused(made, token)
    if kind == "provider":
        assert error.code == "Unauthenticated"
        assert str(error).startswith(f"Could not verify OIDC token claim. {problem}")
    else:
        assert error.code == "InvalidAuthHeader"
        assert str(error).startswith(f"Could not validate token: {problem}")


async def test_the_clock_is_the_deployment_s(issuers: Issuers, verifier: Any, clock: ManualClock) -> None:
    issuer = issuers["EdDSA"]
    made, token = verifier(issuer.provider), issuer.token("ann")
    clock.advance(3604 * 1_000_000_000)
    assert await made.authenticate(token)
    clock.advance(1_000_000_000)
    await refused(made, token)


async def test_the_skew_is_a_setting(issuers: Issuers, verifier: Any) -> None:
    issuer = issuers["EdDSA"]
    token = issuer.token("ann", exp=START_S - 30, nbf=START_S + 30)
    assert await verifier(issuer.provider, skew_s=60).authenticate(token)
    await refused(verifier(issuer.provider, skew_s=30), token)
    await refused(verifier(issuer.provider, skew_s=0), issuer.token("ann", exp=START_S))


# --------------------------------------------------------------------------------------------------------------- attacks


@pytest.mark.parametrize("kind", ["provider", "jwt_provider"])
@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "", None, 5, ["RS256"], {}, "RS512", "PS256", "HS256", "ES256K"]
)
async def test_only_the_algorithms_of_the_provider_are_taken(
    issuers: Issuers, verifier: Any, kind: str, algorithm: Any
) -> None:
    """alg none among them, with and without a signature; nothing is fetched for such tokens"""
    issuer = issuers["RS256"]
    header, payload, signature = parts(issuer.token("ann"))
    before = list(issuer.requests)
    made = verifier(getattr(issuer, kind))
    for end in (signature, "", segment(b"x")):
        error = await refused(made, f"{segment({**header, 'alg': algorithm})}.{segment(payload)}.{end}")
        assert "InvalidAlgorithm" in str(error)
    assert issuer.requests == before


@pytest.mark.parametrize("kind", ["provider", "jwt_provider"])
async def test_a_public_key_is_no_shared_secret(issuers: Issuers, verifier: Any, kind: str) -> None:
    """The algorithm swap: HS256 with the public key, in every form it is known in"""
    issuer = issuers["RS256"]
    header, payload, _ = parts(issuer.token("ann"))
    jwk = issuer.jwks["keys"][0]
    public = PyJWK(jwk, "RS256").key
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        json.dumps(jwk).encode(),
        jwk["n"].encode(),
    ]
    for secret in secrets:
        for name in ("HS256", "RS256"):
            body = f"{segment({**header, 'alg': name})}.{segment(payload)}"
            signature = segment(hmac.new(secret, body.encode(), hashlib.sha256).digest())
            await refused(verifier(getattr(issuer, kind)), f"{body}.{signature}")


async def test_a_token_of_another_algorithm_of_the_same_issuer_is_refused(issuers: Issuers, verifier: Any) -> None:
    issuer = issuers["EdDSA"]
    token = issuer.sign(parts(issuer.token("ann"))[1], algorithm="ES256")
    await refused(verifier(issuer.jwt_provider), token)
    await refused(verifier(issuer.provider), token)


async def test_the_key_of_another_issuer_is_refused(issuers: Issuers, verifier: Any) -> None:
    mine, theirs = issuers["EdDSA"], TestIssuer(algorithm="EdDSA", clock=ManualClock())
    header, payload, _ = parts(mine.token("ann"))
    forged = theirs.sign(payload, headers=header)
    assert parts(forged)[0] == parts(mine.token("ann"))[0], "the same key id, another key"
    error = await refused(verifier(mine.provider), forged)
    assert "InvalidSignature" in str(error)


async def test_keys_that_a_token_brings_along_are_not_looked_at(issuers: Issuers, verifier: Any) -> None:
    mine, theirs = issuers["EdDSA"], TestIssuer(algorithm="EdDSA", clock=ManualClock())
    jwk = theirs.jwks["keys"][0]
    for extra in ({"jwk": jwk}, {"jku": "http://127.0.0.1:1/jwks"}, {"x5u": "http://127.0.0.1:1/x"}, {"x5c": ["AAAA"]}):
        header, payload, _ = parts(mine.token("ann"))
        forged = theirs.sign(payload, headers={**header, **extra})
        assert "InvalidSignature" in str(await refused(verifier(mine.provider), forged))


@pytest.mark.parametrize("change", [{"sub": "admin"}, {"exp": START_S + 99_999}, {"role": "admin"}])
async def test_changed_claims_are_refused(issuers: Issuers, verifier: Any, change: dict[str, Any]) -> None:
    for issuer in issuers.values():
        header, payload, signature = parts(issuer.token("ann"))
        token = f"{segment(header)}.{segment({**payload, **change})}.{signature}"
        assert "InvalidSignature" in str(await refused(verifier(issuer.provider), token))


async def test_wrong_audiences_and_issuers_match_no_provider(issuers: Issuers, verifier: Any) -> None:
    issuer = issuers["EdDSA"]
    made = verifier(issuer.provider)
    wrong: list[dict[str, Any]] = [
        {"aud": "other-app"},
        {"aud": ["other-app"]},
        {"aud": []},
        {"aud": None},
        {"aud": {"test-app": 1}},
        {"aud": ["test-app", 5]},
        {"iss": issuers["RS256"].url},
        {"iss": issuer.url + "/evil"},
        {"iss": issuer.url + ".evil.example"},
        {"iss": issuer.url.upper()},
        {"iss": issuer.url.removeprefix("http://")},
    ]
    for claims in wrong:
        error = await refused(made, issuer.token("ann", **claims))
        assert error.code == "NoAuthProvider"
        assert str(error).startswith("No auth provider found matching the given token")
        assert f"[OIDC(domain={issuer.url}, app_id=test-app)]" in str(error)


@pytest.mark.parametrize("iss", [None, 5, "", ["https://i"], {}])
async def test_a_token_names_its_issuer(issuers: Issuers, verifier: Any, iss: Any) -> None:
    issuer = issuers["EdDSA"]
    error = await refused(verifier(issuer.provider), issuer.token("ann", iss=iss))
    assert error.code == "InvalidAuthHeader"
    assert str(error).startswith("Missing issuer claim ('iss') in JWT payload.")


async def test_unknown_keys_are_refused_after_a_few_fetches(issuers: Issuers, verifier: Any) -> None:
    issuer = issuers["EdDSA"]
    made, payload = verifier(issuer.provider), parts(issuer.token("ann"))[1]
    before = len(issuer.requests)
    for number in range(50):
        error = await refused(made, issuer.sign(payload, headers={"kid": f"unknown-{number}"}))
        assert error.code == "InvalidAuthHeader"
        assert str(error).startswith("Could not decode token. The JWT's 'kid'")
    assert len(issuer.requests) - before == 2 * (1 + UNKNOWN_BURST)
    assert await made.authenticate(issuer.token("ann"))


async def test_a_rotated_key_is_found(verifier: Any) -> None:
    with TestIssuer(algorithm="EdDSA", clock=ManualClock()) as issuer:
        made = verifier(issuer.provider)
        old = issuer.token("ann")
        assert await made.authenticate(old)
        issuer.rotate()
        assert await made.authenticate(issuer.token("ann"))
        await refused(made, old)


@pytest.mark.parametrize("kid", [None, 5, ["a"]])
async def test_custom_tokens_name_their_key(issuers: Issuers, verifier: Any, kid: Any) -> None:
    issuer = issuers["EdDSA"]
    header, payload, signature = parts(issuer.token("ann"))
    error = await refused(
        verifier(issuer.jwt_provider), f"{segment({**header, 'kid': kid})}.{segment(payload)}.{signature}"
    )
    assert str(error).startswith("Could not decode token. The JWT's 'kid'")


@pytest.mark.parametrize(
    "extra", [{"typ": "logout+jwt"}, {"typ": "JOSE"}, {"typ": 5}, {"crit": ["exp"]}, {"crit": []}, {"b64": True}]
)
async def test_tokens_for_other_uses_are_refused(issuers: Issuers, verifier: Any, extra: dict[str, Any]) -> None:
    issuer = issuers["EdDSA"]
    header, payload, signature = parts(issuer.token("ann"))
    await refused(verifier(issuer.provider), f"{segment({**header, **extra})}.{segment(payload)}.{signature}")


@pytest.mark.parametrize(
    "token",
    [
        "",
        "invalid-token-one",
        "a.b",
        "..",
        "a.b.c",
        "a.b.c.d",
        "ünïcode.a.b",
        "\ud800.a.b",
        f"{segment({})}.{segment([])}.x",
        f"{segment({})}.{segment(b'{')}.x",
        f"{segment(b'null')}.{segment({})}.x",
        f"{segment({})}.{segment(b'[' * 9000)}.x",
        f"{segment(b'{' + b'{' * 9000)}.{segment({})}.x",
        f"{segment({})}.{segment(bytes([255, 254]))}.x",
        f"{segment({})}.{segment({})}.x\n",
        f"{segment({})} .{segment({})}.x",
        f"{segment({})}.{segment({})}.x=",
        f"A.{segment({})}.x",
    ],
)
async def test_what_is_no_token_is_refused(issuers: Issuers, verifier: Any, token: str) -> None:
    error = await refused(verifier(issuers["EdDSA"].provider), token)
    assert error.code == "InvalidAuthHeader"
    assert str(error).startswith(("Could not parse JWT payload.", "Missing issuer claim"))


async def test_an_oversized_token_is_refused_unread(issuers: Issuers, verifier: Any) -> None:
    issuer = issuers["EdDSA"]
    made = verifier(issuer.provider)
    fits = issuer.token("ann", pad="x" * (TOKEN_MAX_CHARS * 3 // 4 - 600))
    assert len(fits) <= TOKEN_MAX_CHARS
    assert await made.authenticate(fits)
    for size in (TOKEN_MAX_CHARS, 20_000_000):
        assert "longer than" in str(await refused(made, issuer.token("ann", pad="x" * size)))


async def test_claims_that_cannot_be_held_are_refused(issuers: Issuers, verifier: Any) -> None:
    issuer = issuers["EdDSA"]
    for claim in (10**400, [-(10**400)]):
        for provider in (issuer.provider, issuer.jwt_provider):
            token = issuer.token("ann", bad=claim)
            with pytest.raises(AuthenticationError):
                await verifier(provider).authenticate(token)


# --------------------------------------------------------------------------------------------------------- what is told


async def test_in_production_details_are_left_out(issuers: Issuers, verifier: Any) -> None:
    """server-semantics 9.2"""
    issuer = issuers["EdDSA"]
    oidc, custom = (verifier(provider, redact=True) for provider in (issuer.provider, issuer.jwt_provider))
    told = {
        str(await refused(oidc, issuer.token("ann", aud="x"))),
        str(await refused(oidc, issuer.token("ann", exp=1))),
        str(await refused(custom, issuer.token("ann", exp=1))),
        str(await refused(custom, issuer.sign(parts(issuer.token("ann"))[1], headers={"kid": "unknown"}))),
        str(await refused(custom, "nonsense")),
        str(await refused(custom, issuer.token("ann", iss=None))),
    }
    assert told == {
        "No auth provider found matching the given token.",
        "Could not verify OIDC token claim. Expired",
        "Could not validate token: Expired",
        "Could not decode token. The JWT's 'kid' is not that of a key of its auth provider.",
        "Could not parse JWT payload.",
        "Missing issuer claim ('iss') in JWT payload.",
    }


async def test_a_provider_that_cannot_be_reached_is_not_the_token_s_fault(verifier: Any) -> None:
    issuer = TestIssuer(algorithm="EdDSA", clock=ManualClock(), port=1)
    for redact in (False, True):
        with pytest.raises(AuthenticationError) as error:
            await verifier(issuer.provider, redact=redact).authenticate(issuer.token("ann"))
        assert (error.value.status, error.value.code) == (503, "AuthProviderUnavailable")
        assert ("127.0.0.1" in str(error.value)) is not redact


async def test_a_provider_that_is_misconfigured_is_told_as_such(verifier: Any) -> None:
    with TestIssuer(algorithm="EdDSA", clock=ManualClock()) as issuer:
        issuer.respond = lambda path: (404, {}, b"")
        error = await refused(verifier(issuer.provider), issuer.token("ann"))
        assert error.code == "AuthProviderDiscoveryFailed"
        assert "answered 404" in str(error)
