"""The people of a test: users with made-up but complete identities, and the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from reactor.auth.identity import ADMIN, Caller, UserIdentity, make_caller
from reactor.schema.naming import camel

__all__ = ["admin", "user"]

ISSUER: Final = "https://reactor.test"

_STANDARD: Final = {
    "name",
    "given_name",
    "family_name",
    "nickname",
    "preferred_username",
    "profile_url",
    "picture_url",
    "website_url",
    "email",
    "email_verified",
    "gender",
    "birthday",
    "timezone",
    "language",
    "phone_number",
    "phone_number_verified",
    "address",
    "updated_at",
}


def user(subject: str, attributes: Mapping[str, Any] | None = None) -> Caller:
    """A verified user. `issuer` and `token_identifier` are filled in; standard claims get their wire names."""
    claims = dict(attributes or {})
    issuer = claims.pop("issuer", ISSUER)
    token_identifier = claims.pop("token_identifier", f"{issuer}|{subject}")
    named = {camel(name) if name in _STANDARD else name: value for name, value in claims.items()}
    return make_caller(UserIdentity(subject, issuer, token_identifier, named))


def admin(acting: Caller | None = None) -> Caller:
    """The operator, acting as `acting`'s user if it has one."""
    return ADMIN if acting is None else make_caller(acting.user, is_admin=True)
