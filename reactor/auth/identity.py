"""Who a function is called by.

A `Caller` is what a door (sync, HTTP, scheduler, a test) hands to the runner. It is immutable and hashable by `key`, which
is what the query cache goes by; verification has already happened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from reactor.errors import ReactorError

__all__ = ["ADMIN", "ANONYMOUS", "Caller", "UserIdentity", "acting_as", "unverified"]


@dataclass(frozen=True, slots=True, eq=False)
class UserIdentity:
    """A verified user. `claims` holds everything under its wire name (camelCase standard claims, custom ones verbatim)."""

    subject: str
    issuer: str
    token_identifier: str
    claims: Mapping[str, Any] = field(default_factory=dict)

    def _text(self, name: str) -> str | None:
        value = self.claims.get(name)
        return value if isinstance(value, str) else None

    def _flag(self, name: str) -> bool | None:
        value = self.claims.get(name)
        return value if isinstance(value, bool) else None

    # The standard claims of OpenID Connect; None when absent.

    @property
    def name(self) -> str | None:
        return self._text("name")

    @property
    def given_name(self) -> str | None:
        return self._text("givenName")

    @property
    def family_name(self) -> str | None:
        return self._text("familyName")

    @property
    def nickname(self) -> str | None:
        return self._text("nickname")

    @property
    def preferred_username(self) -> str | None:
        return self._text("preferredUsername")

    @property
    def email(self) -> str | None:
        return self._text("email")

    @property
    def email_verified(self) -> bool | None:
        return self._flag("emailVerified")

    @property
    def profile_url(self) -> str | None:
        return self._text("profileUrl")

    @property
    def picture_url(self) -> str | None:
        return self._text("pictureUrl")

    @property
    def website_url(self) -> str | None:
        return self._text("websiteUrl")

    @property
    def gender(self) -> str | None:
        return self._text("gender")

    @property
    def birthday(self) -> str | None:
        return self._text("birthday")

    @property
    def timezone(self) -> str | None:
        return self._text("timezone")

    @property
    def language(self) -> str | None:
        return self._text("language")

    @property
    def phone_number(self) -> str | None:
        return self._text("phoneNumber")

    @property
    def phone_number_verified(self) -> bool | None:
        return self._flag("phoneNumberVerified")

    @property
    def address(self) -> str | None:
        return self._text("address")

    @property
    def updated_at(self) -> str | None:
        return self._text("updatedAt")

    def to_value(self) -> dict[str, Any]:
        """As `getUserIdentity()` shows it to JavaScript."""
        return {
            **self.claims,
            "subject": self.subject,
            "issuer": self.issuer,
            "tokenIdentifier": self.token_identifier,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """Who is asking: anonymous, a user, the operator (admin key), or the operator acting as a user.

    `expires_ns` is when a token stops being good, or None. `job` is the id of the scheduled function that calls.
    `problem` is why the token that came along proves nobody, where that does not keep a function from running (HTTP
    actions): asking who it is raises it.
    """

    user: UserIdentity | None = None
    is_admin: bool = False
    key: str = ""
    expires_ns: int | None = None
    job: str | None = None
    problem: ReactorError | None = None

    def verified_user(self) -> UserIdentity | None:
        """The user, or None when nobody claims to be one. Raises the `problem` of a token that proves nothing."""
        if self.problem is not None:
            raise self.problem.with_traceback(None)
        return self.user

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Caller) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


def make_caller(user: UserIdentity | None, *, is_admin: bool = False, expires_ns: int | None = None) -> Caller:
    """Build a caller; equal identities get equal keys."""
    if user is None:
        return ADMIN if is_admin else ANONYMOUS
    canonical = msgspec.json.encode(user.to_value(), order="sorted")
    prefix = "admin-as:" if is_admin else "user:"
    return Caller(user, is_admin, prefix + hashlib.sha256(canonical).hexdigest(), expires_ns)


def unverified(problem: ReactorError) -> Caller:
    """Nobody, whose token was refused for this reason."""
    return Caller(key=f"unverified:{problem.code}:{problem}", problem=problem)


ANONYMOUS = Caller(key="anonymous")
ADMIN = Caller(is_admin=True, key="admin")


def acting_as(attributes: Mapping[str, Any]) -> Caller:
    """The operator acting as the user with these attributes (wire names).

    Raises ValueError unless `tokenIdentifier`, or `issuer` and `subject`, are there as strings.
    """
    claims = dict(attributes)
    token_identifier, issuer, subject = (claims.pop(k, None) for k in ("tokenIdentifier", "issuer", "subject"))
    if token_identifier is None and issuer is not None and subject is not None:
        token_identifier = f"{issuer}|{subject}"
    if token_identifier is None:
        raise ValueError('Either "tokenIdentifier" or "issuer" and "subject" must be set')
    if not all(isinstance(x, str) or x is None for x in (token_identifier, issuer, subject)):
        raise ValueError('"tokenIdentifier", "issuer" and "subject" must be strings')
    if issuer is None or subject is None:
        left, _, right = token_identifier.partition("|")
        issuer, subject = issuer or left, subject or right
    return make_caller(UserIdentity(subject, issuer, token_identifier, claims), is_admin=True)
