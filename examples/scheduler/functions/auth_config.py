"""Whose tokens are taken: those of one OpenID Connect provider, named by the environment."""

from __future__ import annotations

from reactor import Environment, OidcProvider


class Env(Environment):
    AUTH_ISSUER: str | None = None
    AUTH_APPLICATION_ID: str = "scheduler"


env = Env()
providers = [OidcProvider(domain=env.AUTH_ISSUER, application_id=env.AUTH_APPLICATION_ID)] if env.AUTH_ISSUER else []
