"""Everybody has their own sessions, and a token proves who they are."""

from __future__ import annotations

from datetime import timedelta

import pytest

from functions import sessions, users
from reactor import ApplicationError, AuthenticationError
from reactor.testing import Backend, TestIssuer


async def test_everybody_sees_their_own_sessions(backend: Backend) -> None:
    ann, bob = backend.as_user("ann"), backend.as_user("bob")
    async with bob.subscribe(sessions.list_my_sessions) as updates:
        assert await updates.next() == []
        for title in ("first", "second"):
            await ann.mutation(sessions.create_session, title=title)
        await updates.assert_quiet()
    assert [session.title for session in await ann.query(sessions.list_my_sessions)] == ["second", "first"]
    assert await backend.query(sessions.list_my_sessions) == []


async def test_nobody_works_without_signing_in(backend: Backend) -> None:
    with pytest.raises(ApplicationError, match="Not authenticated"):
        await backend.mutation(sessions.create_session, title="anonymous")


async def test_only_their_user_ends_sessions(backend: Backend) -> None:
    ann, bob = backend.as_user("ann"), backend.as_user("bob")
    session_id = await ann.mutation(sessions.create_session, title="mine")
    with pytest.raises(ApplicationError, match="Session not found"):
        await bob.mutation(sessions.end_session, session_id=session_id)
    await ann.mutation(sessions.end_session, session_id=session_id)
    assert await ann.query(sessions.list_my_sessions) == []
    with pytest.raises(ApplicationError, match="Session not found"):
        await ann.mutation(sessions.end_session, session_id=session_id)


async def test_the_same_name_at_two_providers_is_two_users(backend: Backend) -> None:
    await backend.as_user("ann", issuer="https://one.example").mutation(sessions.create_session, title="one")
    other = backend.as_user("ann", issuer="https://two.example")
    assert await other.query(sessions.list_my_sessions) == []


async def test_a_token_says_who_is_asking(backend: Backend, issuer: TestIssuer) -> None:
    ann = await backend.with_token(issuer.token("ann", name="Ann", email="ann@example.com"))
    assert await ann.query(users.me) == users.Me(user_id=f"{issuer.url}|ann", name="Ann", email="ann@example.com")
    assert await backend.query(users.me) is None


async def test_what_is_old_or_meant_for_others_is_no_token(backend: Backend, issuer: TestIssuer) -> None:
    with pytest.raises(AuthenticationError):
        await backend.with_token(issuer.token("ann", aud="another-app"))
    token = issuer.token("ann")
    await backend.advance(timedelta(hours=2))
    with pytest.raises(AuthenticationError):
        await backend.with_token(token)
