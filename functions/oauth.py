"""Users' connections to other services: at most one per service.

Tokens are stored as they come: whoever stores them encrypts them before. They are shown to their owner only.
"""

from __future__ import annotations

from typing import Any

from functions.rules import access
from functions.rules.metadata import is_given
from reactor import UNSET, ApplicationError, Id, MutationCtx, QueryCtx, UnsetType, mutation, query
from schema import OAuthConnection, OAuthProvider


async def _connection(ctx: QueryCtx, provider: OAuthProvider) -> OAuthConnection | None:
    """The caller's."""
    user_id = await access.user(ctx)
    return await (
        ctx.db.query(OAuthConnection).with_index("by_userId_provider", user_id=user_id, provider=provider).first()
    )


@mutation
async def store_connection(
    ctx: MutationCtx,
    provider: OAuthProvider,
    access_token: str,
    scope: str,
    refresh_token: str | None = None,
    expires_at: float | None = None,
    metadata: Any | UnsetType = UNSET,
) -> Id[OAuthConnection] | None:
    """Connect, or renew a connection. Answers the id of a new one, null for one that was there.

    Renewing keeps the refresh token and the metadata unless there are new ones, and forgets an end that is not given
    again: it was the old token's.
    """
    existing = await _connection(ctx, provider)
    now = ctx.now()
    if existing is None:
        return await ctx.db.insert(
            OAuthConnection(
                user_id=await access.user(ctx),
                provider=provider,
                access_token=access_token,
                refresh_token=refresh_token,
                expires_at=expires_at,
                scope=scope,
                metadata=metadata,
                created_at=now,
                updated_at=now,
            )
        )
    await ctx.db.patch(
        existing.id,
        access_token=access_token,
        refresh_token=refresh_token or existing.refresh_token,
        expires_at=expires_at,
        scope=scope,
        metadata=metadata if is_given(metadata) else existing.metadata,
        updated_at=now,
    )
    return None


@mutation
async def revoke_connection(ctx: MutationCtx, provider: OAuthProvider) -> None:
    """Forget a connection; fine when there was none."""
    existing = await _connection(ctx, provider)
    if existing is not None:
        await ctx.db.delete(existing.id)


@mutation
async def update_metadata(ctx: MutationCtx, provider: OAuthProvider, metadata: Any) -> None:
    """Replace a connection's metadata."""
    existing = await _connection(ctx, provider)
    if existing is None:
        raise ApplicationError(f"No {provider} connection found")
    await ctx.db.patch(existing.id, metadata=metadata, updated_at=ctx.now())


@query
async def get_connection(ctx: QueryCtx, provider: OAuthProvider) -> OAuthConnection | None:
    return await _connection(ctx, provider)


@query
async def list_connections(ctx: QueryCtx) -> list[OAuthConnection]:
    """Oldest first."""
    return await ctx.db.query(OAuthConnection).with_index("by_userId", user_id=await access.user(ctx)).collect()
