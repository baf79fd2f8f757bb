"""Who sees and does what, in two workspaces."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import pytest

from functions import sessions, workspaces
from reactor import ApplicationError, Id
from reactor.testing import Backend
from schema import Session, Workspace


def user_id(name: str) -> str:
    return f"https://reactor.test|{name}"


@dataclass
class Team:
    """A workspace with one person per role, and a stranger."""

    id: Id[Workspace]
    owner: Backend
    admin: Backend
    member: Backend
    stranger: Backend

    @property
    def everybody(self) -> list[Backend]:
        return [self.owner, self.admin, self.member]


async def found_team(backend: Backend) -> Team:
    owner = backend.as_user("olga")
    id = await owner.mutation(workspaces.create, name="Red")
    await owner.mutation(workspaces.invite, workspace_id=id, user_id=user_id("ada"), role="admin")
    await owner.mutation(workspaces.invite, workspace_id=id, user_id=user_id("mo"))
    return Team(id, owner, backend.as_user("ada"), backend.as_user("mo"), backend.as_user("sam"))


async def session_of(team: Team) -> Id[Session]:
    return await team.member.mutation(sessions.create, workspace_id=team.id, name="plan")


def refused(text: str) -> AbstractContextManager[Any]:
    return pytest.raises(ApplicationError, match=text)


async def test_everybody_lists_their_own_workspaces(backend: Backend) -> None:
    team = await found_team(backend)
    await team.stranger.mutation(workspaces.create, name="Blue")
    assert [(w.name, w.role) for w in await team.admin.query(workspaces.list_)] == [("Red", "admin")]
    assert [(w.name, w.role) for w in await team.stranger.query(workspaces.list_)] == [("Blue", "owner")]
    assert await backend.query(workspaces.list_) == []


async def test_members_read_and_create_strangers_do_neither(backend: Backend) -> None:
    team = await found_team(backend)
    await session_of(team)
    for user in team.everybody:
        assert [session.name for session in await user.query(sessions.list_, workspace_id=team.id)] == ["plan"]
    with refused("Not a member of this workspace"):
        await team.stranger.query(sessions.list_, workspace_id=team.id)
    with refused("Not a member of this workspace"):
        await team.stranger.mutation(sessions.create, workspace_id=team.id, name="intrusion")
    with refused("Not authenticated"):
        await backend.query(sessions.list_, workspace_id=team.id)


async def test_admins_and_the_owner_change_sessions_members_do_not(backend: Backend) -> None:
    team = await found_team(backend)
    session_id = await session_of(team)
    with refused("Admin access required"):
        await team.member.mutation(sessions.rename, session_id=session_id, name="mine")
    with refused("Admin access required"):
        await team.member.mutation(sessions.remove, session_id=session_id)
    await team.admin.mutation(sessions.rename, session_id=session_id, name="renamed")
    assert [s.name for s in await team.member.query(sessions.list_, workspace_id=team.id)] == ["renamed"]
    await team.owner.mutation(sessions.remove, session_id=session_id)
    assert await team.member.query(sessions.list_, workspace_id=team.id) == []


async def test_the_session_of_another_workspace_is_as_good_as_none(backend: Backend) -> None:
    team = await found_team(backend)
    session_id = await session_of(team)
    await team.stranger.mutation(workspaces.create, name="Blue")  # an owner, but not here
    with refused("no read access or doc does not exist"):
        await team.stranger.mutation(sessions.rename, session_id=session_id, name="mine")


async def test_admins_invite_and_the_owner_gives_roles(backend: Backend) -> None:
    team = await found_team(backend)
    sam, mo, olga = user_id("sam"), user_id("mo"), user_id("olga")
    with refused("Admin access required"):
        await team.member.mutation(workspaces.invite, workspace_id=team.id, user_id=sam)
    await team.admin.mutation(workspaces.invite, workspace_id=team.id, user_id=sam)
    assert [w.role for w in await team.stranger.query(workspaces.list_)] == ["member"]

    with refused("Owner access required"):
        await team.admin.mutation(workspaces.set_role, workspace_id=team.id, user_id=mo, role="admin")
    await team.owner.mutation(workspaces.set_role, workspace_id=team.id, user_id=mo, role="admin")
    assert [w.role for w in await team.member.query(workspaces.list_)] == ["admin"]
    # A second invitation changes nothing, and nobody can depose the owner.
    await team.admin.mutation(workspaces.invite, workspace_id=team.id, user_id=mo, role="member")
    assert [w.role for w in await team.member.query(workspaces.list_)] == ["admin"]
    with refused("needs its owner"):
        await team.owner.mutation(workspaces.set_role, workspace_id=team.id, user_id=olga, role="member")
    with refused("Not a member of this workspace"):
        await team.owner.mutation(workspaces.set_role, workspace_id=team.id, user_id=user_id("nobody"), role="admin")


async def test_who_leaves_sees_it_at_once(backend: Backend) -> None:
    team = await found_team(backend)
    async with team.member.subscribe(workspaces.list_) as updates:
        assert len(await updates.next()) == 1
        await team.member.mutation(workspaces.leave, workspace_id=team.id)
        assert await updates.next() == []
    with refused("Not a member of this workspace"):
        await team.member.query(sessions.list_, workspace_id=team.id)
    with refused("Not a member of this workspace"):
        await team.member.mutation(workspaces.leave, workspace_id=team.id)
    with refused("needs its owner"):
        await team.owner.mutation(workspaces.leave, workspace_id=team.id)
