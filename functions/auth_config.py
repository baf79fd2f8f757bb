"""Who signs users in: Clerk, at the domain that `CLERK_JWT_ISSUER_DOMAIN` names. Without it there are no users."""

from __future__ import annotations

from reactor import Environment, OidcProvider


class Clerk(Environment):
    CLERK_JWT_ISSUER_DOMAIN: str | None = None


domain = Clerk().CLERK_JWT_ISSUER_DOMAIN
providers = [OidcProvider(domain=domain, application_id="convex")] if domain else []
