"""From an `Authorization` header, an `adminKey` parameter or a sync `Authenticate` message to a `Caller`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from reactor.auth.admin_key import AdminKeys, strip_key_type
from reactor.auth.authenticator import AuthenticationError, Authenticator, NoProviders
from reactor.auth.identity import ADMIN, ANONYMOUS, Caller, acting_as

__all__ = ["Gatekeeper"]


class Gatekeeper:
    """Decides who is asking, the same way at every door. All its refusals are `AuthenticationError`s."""

    def __init__(
        self, admin_keys: AdminKeys, authenticator: Authenticator | None = None, *, instance_name: str = "reactor"
    ) -> None:
        self._admin_keys = admin_keys
        self.authenticator: Authenticator = authenticator or NoProviders()
        self._instance_name = instance_name

    async def from_header(self, header: str | None) -> Caller:
        """The caller of an HTTP request: `Bearer <token>`, `Convex <key>[:<base64 JSON user>]`, or nobody."""
        if header is None:
            return ANONYMOUS
        if len(header) < 7:
            raise AuthenticationError(
                "The Authorization header is too short to hold a credential.", code="InvalidHeaderFailure", status=400
            )
        scheme, credential = header[:7].lower(), header[7:].strip()
        if scheme == "bearer ":
            return await self.user(credential)
        if scheme == "convex ":
            return self.admin(credential)
        raise AuthenticationError(
            "The Authorization header must be `Bearer <token>` or `Convex <admin key>`.",
            code="InvalidAdminKey",
            status=400,
        )

    async def user(self, token: str) -> Caller:
        """The caller that a token proves."""
        return await self.authenticator.authenticate(token)

    def admin(self, key: str, attributes: Mapping[str, Any] | None = None) -> Caller:
        """The operator, or the operator acting as the user with these attributes (given apart, or appended to the key)."""
        # The whole text first, so that any string can be a key, colons included.
        if not self._admin_keys.accepts(key):
            bare, colon, encoded = strip_key_type(key).rpartition(":")
            if not colon or not self._admin_keys.accepts(bare):
                raise AuthenticationError(
                    f"The provided deploy key was invalid for deployment '{self._instance_name}'. Double check that the "
                    "environment this key was generated for matches the desired deployment.",
                    code="BadDeployKey",
                    status=403,
                )
            if attributes is None:
                attributes = _decode_attributes(encoded)
        if attributes is None:
            return ADMIN
        try:
            return acting_as(attributes)
        except ValueError as error:
            raise AuthenticationError(str(error), code="HeaderParseFailure", status=400) from None


def _decode_attributes(encoded: str) -> dict[str, Any]:
    try:
        padded = encoded.rstrip("=")
        raw = base64.b64decode(padded + "=" * (-len(padded) % 4), altchars=None, validate=True)
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (binascii.Error, ValueError, RecursionError, msgspec.MsgspecError):
        raise AuthenticationError(
            "The user to act as, after the `:` of the admin key, must be base64 of a JSON object.",
            code="HeaderParseFailure",
            status=400,
        ) from None
