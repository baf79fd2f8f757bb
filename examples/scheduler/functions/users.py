"""Signing up, and being welcomed for it."""

from __future__ import annotations

from functions import emails
from reactor import ApplicationError, Id, MutationCtx, QueryCtx, UserIdentity, mutation
from schema import Email, User


@mutation
async def sign_up(ctx: MutationCtx, email: str) -> Id[User]:
    """The welcome is sent right after the commit. If this fails there is no user, no mail, and nothing scheduled."""
    caller = await require_caller(ctx)
    known = await ctx.db.query(User).with_index("by_tokenIdentifier", token_identifier=caller.token_identifier).unique()
    if known is not None:
        raise ApplicationError("Already signed up")
    user_id = await ctx.db.insert(User(token_identifier=caller.token_identifier, email=email))
    email_id = await ctx.db.insert(Email(to=email, subject="Welcome"))
    await ctx.scheduler.run_after(0, emails.send_welcome, email_id=email_id)
    return user_id


async def require_caller(ctx: QueryCtx) -> UserIdentity:
    """Who is asking. Scheduled functions can't ask: they run as nobody, and are told all they need in arguments."""
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        raise ApplicationError("Not authenticated")
    return identity
