"""People, each with at most one profile (1:1)."""

from __future__ import annotations

from reactor import ApplicationError, Id, MutationCtx, QueryCtx, mutation, query
from schema import AuthorProfile, User


class UserWithProfile(User):
    profile: AuthorProfile | None


@mutation
async def create(ctx: MutationCtx, email: str, name: str) -> Id[User]:
    """Uniqueness is a look before the insert. That is enough, because mutations run one after another."""
    if await ctx.db.query(User).with_index("by_email", email=email).first():
        raise ApplicationError("This e-mail address is taken")
    return await ctx.db.insert(User(email=email, name=name))


@mutation
async def set_profile(ctx: MutationCtx, user_id: Id[User], bio: str) -> None:
    """Write the profile of a user, who then has exactly one."""
    profile = await profile_of(ctx, user_id)
    if profile is not None:
        await ctx.db.patch(profile.id, bio=bio)
    elif await ctx.db.get(user_id) is None:
        raise ApplicationError("User not found")
    else:
        await ctx.db.insert(AuthorProfile(user_id=user_id, bio=bio))


@query
async def get(ctx: QueryCtx, user_id: Id[User]) -> UserWithProfile | None:
    user = await ctx.db.get(user_id)
    return user and user.extend(UserWithProfile, profile=await profile_of(ctx, user_id))


async def profile_of(ctx: QueryCtx, user_id: Id[User]) -> AuthorProfile | None:
    return await ctx.db.query(AuthorProfile).with_index("by_userId", user_id=user_id).unique()
