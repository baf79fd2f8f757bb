"""Workspaces, who belongs to them, and what is done in them. Users are known by their token identifier."""

from __future__ import annotations

from typing import Literal

from reactor import Document, Id, define_schema, define_table

Role = Literal["owner", "admin", "member"]


class Workspace(Document):
    name: str
    owner_id: str
    created_at: float


class Membership(Document):
    workspace_id: Id[Workspace]
    user_id: str
    role: Role


class Session(Document):
    workspace_id: Id[Workspace]
    name: str
    status: Literal["active", "archived"] = "active"


schema = define_schema(
    workspaces=define_table(Workspace),
    memberships=define_table(Membership)
    .index("by_userId", "user_id")
    .index("by_workspaceId", "workspace_id")
    .index("by_workspaceId_userId", "workspace_id", "user_id"),
    sessions=define_table(Session).index("by_workspaceId", "workspace_id"),
)
