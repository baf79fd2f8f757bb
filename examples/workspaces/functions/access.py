"""Who may do what: the caller, the rules of each table, and the decorators that guard a function's `ctx.db` with them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, TypeVar

from reactor import (
    ApplicationError,
    Id,
    Mutation,
    MutationCtx,
    Query,
    QueryCtx,
    Rule,
    mutation,
    query,
    with_rules,
    wraps,
)
from reactor.runtime.rules import RuledReader, RuledWriter
from schema import Membership, Role, Session, Workspace

P = ParamSpec("P")
R = TypeVar("R")


class Caller:
    """The user who calls. Each membership is looked up once in a call, however many rows ask for it."""

    def __init__(self, ctx: QueryCtx, user_id: str) -> None:
        self.user_id = user_id
        self._ctx = ctx
        self._roles: dict[Id[Workspace], Role | None] = {}

    async def role_in(self, workspace_id: Id[Workspace]) -> Role | None:
        if workspace_id not in self._roles:
            membership = await membership_of(self._ctx, workspace_id, self.user_id)
            self._roles[workspace_id] = membership.role if membership else None
        return self._roles[workspace_id]

    async def require_member(self, workspace_id: Id[Workspace]) -> Role:
        role = await self.role_in(workspace_id)
        if role is None:
            raise ApplicationError("Not a member of this workspace")
        return role

    async def require_admin(self, workspace_id: Id[Workspace]) -> None:
        if await self.require_member(workspace_id) == "member":
            raise ApplicationError("Admin access required")

    async def require_owner(self, workspace_id: Id[Workspace]) -> None:
        if await self.require_member(workspace_id) != "owner":
            raise ApplicationError("Owner access required")


async def membership_of(ctx: QueryCtx, workspace_id: Id[Workspace], user_id: str) -> Membership | None:
    return await (
        ctx.db.query(Membership)
        .with_index("by_workspaceId_userId", workspace_id=workspace_id, user_id=user_id)
        .unique()
    )


async def caller(ctx: QueryCtx) -> Caller:
    identity = await ctx.auth.get_user_identity()
    if identity is None:
        raise ApplicationError("Not authenticated")
    return Caller(ctx, identity.token_identifier)


def rules_for(caller: Caller) -> dict[type, Rule[Any]]:
    """What the caller may do with the rows of each table. A table without a rule is closed."""

    async def visible(session: Session) -> bool:
        return await caller.role_in(session.workspace_id) is not None

    # A rule that says False refuses with a general text; these two raise, to say why.
    async def by_member(session: Session) -> bool:
        await caller.require_member(session.workspace_id)
        return True

    async def by_admin(session: Session) -> bool:
        await caller.require_admin(session.workspace_id)
        return True

    return {Session: Rule(read=visible, insert=by_member, modify=by_admin)}


@dataclass(frozen=True)
class Reading:
    """What a `user_query` gets as its ctx."""

    db: RuledReader
    caller: Caller


@dataclass(frozen=True)
class Writing:
    """What a `user_mutation` gets as its ctx."""

    db: RuledWriter
    caller: Caller


def user_query(handler: Callable[Concatenate[Reading, P], Coroutine[Any, Any, R]]) -> Query[QueryCtx, P, R]:
    """A query for signed-in users, who see what the rules let them see."""

    @query
    @wraps(handler)
    async def wrapper(ctx: QueryCtx, *args: P.args, **kwargs: P.kwargs) -> R:
        user = await caller(ctx)
        return await handler(Reading(with_rules(ctx.db, rules_for(user)), user), *args, **kwargs)

    return wrapper


def user_mutation(handler: Callable[Concatenate[Writing, P], Coroutine[Any, Any, R]]) -> Mutation[MutationCtx, P, R]:
    """A mutation for signed-in users, who can do what the rules let them do."""

    @mutation
    @wraps(handler)
    async def wrapper(ctx: MutationCtx, *args: P.args, **kwargs: P.kwargs) -> R:
        user = await caller(ctx)
        return await handler(Writing(with_rules(ctx.db, rules_for(user)), user), *args, **kwargs)

    return wrapper
