"""From the claims of a verified token to the `UserIdentity` that functions see."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from reactor.auth.identity import UserIdentity

__all__ = ["custom_identity", "oidc_identity"]

_TEXTS: Final = {
    "name": "name",
    "given_name": "givenName",
    "family_name": "familyName",
    "nickname": "nickname",
    "preferred_username": "preferredUsername",
    "profile": "profileUrl",
    "picture": "pictureUrl",
    "website": "websiteUrl",
    "email": "email",
    "gender": "gender",
    "birthdate": "birthday",
    "zoneinfo": "timezone",
    "locale": "language",
    "phone_number": "phoneNumber",
}
_FLAGS: Final = {"email_verified": "emailVerified", "phone_number_verified": "phoneNumberVerified"}
_STANDARD: Final = {*_TEXTS, *_FLAGS, "address", "updated_at"}
_DROPPED: Final = {"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "fva"}
"""About the token rather than the user: most differ in each token, and would make a new identity of each refresh."""
_DROPPED_OF_OIDC: Final = {*_DROPPED, "nonce", "at_hash", "c_hash"}

MAX_SAFE: Final = 2**53
BOOLEANS: Final = {"true": True, "false": False}


def oidc_identity(claims: Mapping[str, Any]) -> UserIdentity:
    """The user of an OpenID Connect token: standard claims under their camelCase names, all others under their own.

    A standard claim that is not of its type is left out, so that `emailVerified` is always a boolean.
    """
    shown = {
        name: _plain(value) for name, value in claims.items() if name not in _STANDARD and name not in _DROPPED_OF_OIDC
    }
    for name, wire_name in _TEXTS.items():
        if isinstance(value := claims.get(name), str):
            shown[wire_name] = value
    for name, wire_name in _FLAGS.items():
        value = claims.get(name)
        value = BOOLEANS.get(value) if isinstance(value, str) else value  # some providers write "true"
        if isinstance(value, bool):
            shown[wire_name] = value
    address = claims.get("address")
    address = address.get("formatted") if isinstance(address, Mapping) else address
    if isinstance(address, str):
        shown["address"] = address
    if (updated := _moment(claims.get("updated_at"))) is not None:
        shown["updatedAt"] = updated
    return _identity(claims, shown)


def custom_identity(claims: Mapping[str, Any]) -> UserIdentity:
    """The user of any other token: all claims under their own names, those of nested objects joined by dots."""
    shown: dict[str, Any] = {}
    for name, value in claims.items():
        if name not in _DROPPED:
            _flatten(name, value, shown)
    return _identity(claims, shown)


def _identity(claims: Mapping[str, Any], shown: dict[str, Any]) -> UserIdentity:
    issuer, subject = claims["iss"], claims["sub"]
    # Never from the token: functions look users up by these.
    for name in ("subject", "issuer", "tokenIdentifier"):
        shown.pop(name, None)
    return UserIdentity(subject, issuer, f"{issuer}|{subject}", shown)


def _flatten(name: str, value: Any, into: dict[str, Any]) -> None:
    if not isinstance(value, dict):
        into[name] = _plain(value)
        return
    for inner, inner_value in value.items():
        _flatten(f"{name}.{inner}", inner_value, into)


def _plain(value: Any) -> Any:
    """JSON numbers as JavaScript reads them: whole ones beyond 2**53 are floats."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MAX_SAFE:
        return float(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _moment(value: Any) -> str | None:
    """`updated_at` as RFC 3339: the standard has seconds since 1970, some providers write the text itself."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return datetime.fromtimestamp(value, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return None
