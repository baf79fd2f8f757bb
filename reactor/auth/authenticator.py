"""What turns a bearer token into a `Caller`, and how it says no. Verifiers of real providers plug in here."""

from __future__ import annotations

from typing import Protocol

from reactor.auth.identity import Caller
from reactor.errors import ReactorError

__all__ = ["AuthenticationError", "Authenticator", "NoProviders"]


class AuthenticationError(ReactorError):
    """Who is asking could not be established. `status` is the HTTP status to answer with (400, 401 or 403)."""

    code = "Unauthenticated"

    def __init__(self, message: str, *, code: str | None = None, status: int = 401) -> None:
        super().__init__(message, code=code)
        self.status = status


class Authenticator(Protocol):
    """Verifies the tokens of users."""

    async def authenticate(self, token: str) -> Caller:
        """The caller that `token` proves. Raises `AuthenticationError`: a token is never silently ignored."""
        ...


class NoProviders:
    """The authenticator of a deployment without auth configuration: it refuses every token."""

    async def authenticate(self, token: str) -> Caller:
        raise AuthenticationError(
            "No auth provider found matching the given token (no providers configured). "
            "Export `providers` from `functions/auth_config.py` to accept tokens.",
            code="NoAuthProvider",
        )
