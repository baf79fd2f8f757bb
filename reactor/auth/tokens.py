"""Verifies users' tokens: JSON Web Tokens of the configured providers, with algorithm, issuer, audience and times pinned.

What can be refused cheaply is refused before any key is looked for. The claims that a caller is made of are read from
the very bytes whose signature was verified.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn

import msgspec
from jwt import PyJWTError
from jwt.api_jws import PyJWS
from jwt.utils import base64url_decode

from reactor.auth.authenticator import AuthenticationError
from reactor.auth.claims import custom_identity, oidc_identity
from reactor.auth.identity import Caller, make_caller
from reactor.auth.keys import KeySource, KeyStore, KeysUnavailable
from reactor.auth.providers import OidcProvider, Provider, audiences_of, normal_issuer
from reactor.clock import Clock

__all__ = ["TOKEN_MAX_CHARS", "TokenVerifier"]

logger = logging.getLogger("reactor.auth")

TOKEN_MAX_CHARS: Final = 16 * 1024
DEFAULT_SKEW_S: Final = 5.0
FAR_S: Final = 8_000_000_000
"""Times further from 1970 than this are as good as never: 64 bits of nanoseconds hold it."""

_SHAPE: Final = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)", re.ASCII)
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
"""`typ` of tokens that say who somebody is. Others (as of a notice of sign-out) may carry the same issuer and audience."""
_jws: Final = PyJWS(options={"verify_signature": True, "enforce_minimum_key_length": True})


class TokenVerifier:
    """The `Authenticator` of a deployment with providers. The first one that a token matches decides about it.

    `skew_s`: how far the clock of the issuer may be from ours. `redact`: what clients are told leaves out the
    configuration and the token's claims; the log always has it all.
    """

    def __init__(
        self,
        providers: Sequence[Provider],
        keys: KeyStore,
        clock: Clock,
        *,
        skew_s: float = DEFAULT_SKEW_S,
        redact: bool = True,
    ) -> None:
        self._providers: list[tuple[Provider, KeySource]] = [(each, keys.source(each)) for each in providers]
        self._clock = clock
        self._skew_ns = round(skew_s * 1e9)
        self._redact = redact

    async def authenticate(self, token: str) -> Caller:
        """The user that `token` proves. Raises AuthenticationError, with status 503 when only the keys are missing."""
        try:
            return await self._verify(token)
        except _Refused as refused:
            logger.info("refused a token (%s): %s %s", refused.code, refused.text, refused.detail)
            message = refused.text if self._redact or not refused.detail else f"{refused.text} {refused.detail}"
            raise AuthenticationError(message, code=refused.code, status=refused.status) from None

    async def _verify(self, token: str) -> Caller:
        if len(token) > TOKEN_MAX_CHARS:
            raise _unreadable(f"It is longer than {TOKEN_MAX_CHARS} characters.")
        shape = _SHAPE.fullmatch(token)
        if shape is None:
            raise _unreadable("A JWT is three parts in base64url, with dots between them.")
        header, claims = _json_object(shape[1], "header"), _json_object(shape[2], "payload")
        issuer = claims.get("iss")
        if not isinstance(issuer, str) or not issuer:
            raise _Refused(
                "InvalidAuthHeader",
                "Missing issuer claim ('iss') in JWT payload.",
                "It names who signed the token, and must be a text.",
            )
        provider, source = self._provider(issuer, claims.get("aud"))
        check = _Check(provider)
        algorithm = header.get("alg")
        if algorithm not in provider.algorithms:
            check.fail(
                "InvalidAlgorithm", f"The token says {_shown(algorithm)}; taken: {', '.join(provider.algorithms)}."
            )
        if "crit" in header or "b64" in header:
            check.fail("InvalidHeader", "Critical header extensions (`crit`, `b64`) are not understood.")
        kind = header.get("typ", "JWT")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            check.fail("InvalidType", f"The header `typ` is {_shown(kind)}; expected 'JWT'.")
        kid = header.get("kid")
        if not isinstance(kid, str) and (kid is not None or not isinstance(provider, OidcProvider)):
            raise _Refused(
                "InvalidAuthHeader", "Could not decode token. The JWT's 'kid' header is missing.", "It names the key."
            )
        expires_ns = self._check_claims(check, claims)

        try:
            key = await source.find(kid, algorithm)
        except KeysUnavailable as error:
            raise _Refused(
                "AuthProviderUnavailable" if error.is_temporary else "AuthProviderDiscoveryFailed",
                "The keys of the token's auth provider could not be had.",
                str(error),
                status=503 if error.is_temporary else 401,
            ) from None
        if key is None:
            text = "Could not decode token. The JWT's 'kid' is not that of a key of its auth provider."
            raise _Refused("InvalidAuthHeader", text, f"It is {_shown(kid)}, for {algorithm}.")
        try:
            _jws.decode_complete(token, key, algorithms=[algorithm])
        except PyJWTError as error:
            check.fail("InvalidSignature", f"{error}.")
        try:
            user = oidc_identity(claims) if isinstance(provider, OidcProvider) else custom_identity(claims)
            return make_caller(user, expires_ns=expires_ns)
        except (ValueError, OverflowError, RecursionError, TypeError) as error:
            check.fail("InvalidClaims", f"{error}.")

    def _provider(self, issuer: str, audience: object) -> tuple[Provider, KeySource]:
        normal = normal_issuer(issuer)
        audiences = audiences_of(audience)
        for provider, source in self._providers:
            if provider.issuer == normal and (provider.application_id is None or provider.application_id in audiences):
                return provider, source
        configured = ", ".join(provider.describe() for provider, _ in self._providers)
        raise _Refused(
            "NoAuthProvider",
            "No auth provider found matching the given token.",
            "Check that your JWT's issuer and audience match one of your configured providers: "
            f"[{configured}]. The token has iss={_shown(issuer)}, aud={_shown(audience)}.",
        )

    def _check_claims(self, check: _Check, claims: dict[str, Any]) -> int:
        """Look at everything but the signature. Returns when the token ends, in nanoseconds since 1970."""
        now = self._clock.now_ns()
        subject = claims.get("sub")
        if not isinstance(subject, str) or not subject:
            check.fail("MissingSubject", "The claim `sub` must be a text: it names the user.")
        if check.is_oidc and len(audiences_of(claims.get("aud"))) != 1:
            check.fail("InvalidAudience", "Tokens with several audiences are not taken.")
        expires_ns = _moment(check, claims, "exp")
        if expires_ns is None:
            check.fail("MissingExpiry", "The claim `exp` must say when the token ends.")
        if now >= expires_ns + self._skew_ns:
            check.fail("Expired", f"It ended {(now - expires_ns) / 1e9:.0f} s ago.")
        not_before_ns = _moment(check, claims, "nbf")
        if not_before_ns is not None and now + self._skew_ns < not_before_ns:
            check.fail("NotYetValid", f"It begins in {(not_before_ns - now) / 1e9:.0f} s.")
        return expires_ns


class _Refused(Exception):
    """`text` is for anybody, `detail` for developers."""

    def __init__(self, code: str, text: str, detail: str = "", *, status: int = 401) -> None:
        super().__init__(text)
        self.code, self.text, self.detail, self.status = code, text, detail, status


class _Check:
    """Says what is wrong with a token in the words of its kind of provider."""

    def __init__(self, provider: Provider) -> None:
        self.is_oidc = isinstance(provider, OidcProvider)

    def fail(self, problem: str, detail: str) -> NoReturn:
        if self.is_oidc:
            raise _Refused("Unauthenticated", f"Could not verify OIDC token claim. {problem}", f"({detail})")
        raise _Refused("InvalidAuthHeader", f"Could not validate token: {problem}", f"({detail})")


def _unreadable(detail: str) -> _Refused:
    return _Refused("InvalidAuthHeader", "Could not parse JWT payload.", detail)


def _json_object(segment: str, name: str) -> dict[str, Any]:
    try:
        return msgspec.json.decode(base64url_decode(segment), type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise _unreadable(f"Its {name} is not a JSON object in base64url: {error}.") from None


def _moment(check: _Check, claims: dict[str, Any], name: str) -> int | None:
    """A claim in seconds since 1970 as nanoseconds, None when it is absent."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        check.fail("InvalidClaims", f"The claim `{name}` must be a number of seconds since 1970.")
    return int(max(-FAR_S, min(FAR_S, value)) * 1_000_000_000)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + "…"
