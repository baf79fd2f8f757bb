"""Whom tokens are accepted of: what the environment says, in both ways of saying it."""

import os
from typing import Any

from reactor import Environment, JwtProvider, OidcProvider


class Env(Environment):
    OIDC_ISSUER: str | None = None
    DOWN_ISSUER: str | None = None


env = Env()
providers: list[Any] = []
if env.OIDC_ISSUER:
    providers.append({"domain": env.OIDC_ISSUER, "applicationID": "test-app"})
if env.DOWN_ISSUER:
    providers.append(OidcProvider(domain=env.DOWN_ISSUER, application_id="test-app"))
if "CUSTOM_ISSUER" in os.environ:
    issuer = os.environ["CUSTOM_ISSUER"]
    providers.append(JwtProvider(issuer=issuer, jwks=f"{issuer}/jwks", algorithm="ES256"))
