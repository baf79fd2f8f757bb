"""Users' tokens over the sync protocol, frame by frame: client-protocol 30 to 33 and 36, engine rule 15.

Every test runs through `SyncClient`, which also checks client-protocol 31's `baseVersion + 1 >= Authenticates` on each
AuthError.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.server import ADMIN_KEY
from tests.support.sign_in import SignIn, sign_in_server
from tests.support.sync_client import Query, SyncClient

pytestmark = pytest.mark.process

LOOKING = ("who:whoami", "who:looking", "who:lookingThroughAnother")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignIn]:
    with sign_in_server(tmp_path_factory.mktemp("sign-in")) as place:
        yield place


MakeClient = Callable[[], SyncClient]


@pytest.fixture
async def client(raw: Any, place: SignIn) -> SyncClient:
    made = raw(place.server.ws_url)
    await made.open()
    return made


async def sign_in(client: SyncClient, token: str) -> None:
    await client.authenticate(tokenType="User", value=token)


async def signed_in(client: SyncClient, token: str) -> None:
    await sign_in(client, token)
    version = client.identity
    await client.until(lambda: client.version["identity"] >= version)


async def refused(client: SyncClient) -> dict[str, Any]:
    """Wait for the AuthError and the end of the connection."""
    await client.until_closed()
    assert client.auth_error is not None, client.frames[-3:]
    assert client.fatal is None
    return client.auth_error


async def follow(client: SyncClient, *paths: str) -> list[Query]:
    return await client.add(*((path, {}) for path in paths))


async def test_a_valid_token_raises_the_identity_by_one(client: SyncClient, place: SignIn) -> None:
    """client-protocol 30, 4"""
    await sign_in(client, place.oidc.token("ann", given_name="Ann", email_verified=True, org_id="o1"))
    (who,) = await follow(client, "who:whoami")
    ((start, end),) = [(t["startVersion"], t["endVersion"]) for t in client.transitions]
    assert (start["identity"], end["identity"]) == (0, 1)
    assert (start["querySet"], end["querySet"]) == (0, 1)
    assert who.value == {
        "subject": "ann",
        "issuer": place.oidc.url,
        "tokenIdentifier": f"{place.oidc.url}|ann",
        "givenName": "Ann",
        "emailVerified": True,
        "org_id": "o1",
    }


async def test_mutations_and_actions_run_as_the_user(client: SyncClient, place: SignIn) -> None:
    """client-protocol 30"""
    await sign_in(client, place.custom.token("ann", properties={"id": "p1"}))
    expected = {
        "subject": "ann",
        "issuer": place.custom.url,
        "tokenIdentifier": f"{place.custom.url}|ann",
        "properties.id": "p1",
    }
    assert (await client.mutation("who:whoamiMutation"))["result"] == expected
    assert (await client.action("who:whoamiAction"))["result"] == expected


async def test_signing_in_runs_exactly_the_queries_that_looked_at_the_identity(
    client: SyncClient, place: SignIn
) -> None:
    """engine rule 15, client-protocol 33: a null answer counts as looking, and so does what another function saw"""
    queries = await follow(client, *LOOKING, "who:indifferent", "who:askingForTheOperator", "who:lines")
    *looking, indifferent, operator, lines = queries

    async def rerun(what: Any) -> set[str]:
        before = {query.id: len(query.updates) for query in queries}
        await what
        version = client.identity
        await client.until(lambda: client.version["identity"] >= version)
        return {query.path for query in queries if len(query.updates) > before[query.id]}

    everything_looking = {*LOOKING, operator.path}
    assert await rerun(sign_in(client, place.oidc.token("ann"))) == everything_looking
    assert await rerun(sign_in(client, place.oidc.token("bob"))) == everything_looking
    assert looking[0].value["subject"] == "bob"
    assert await rerun(sign_in(client, place.oidc.token("bob", jti="renewed"))) == set(), "the same user, a newer token"
    assert await rerun(sign_in(client, place.oidc.token("bob", role="editor"))) == everything_looking, "another claim"
    assert await rerun(client.authenticate(tokenType="None")) == everything_looking
    assert looking[0].value is None
    assert len(indifferent.updates) == len(lines.updates) == 1


async def test_signing_out_makes_queries_anonymous(client: SyncClient, place: SignIn) -> None:
    """client-protocol 33"""
    await sign_in(client, place.oidc.token("ann"))
    (who,) = await follow(client, "who:whoami")
    assert who.value["subject"] == "ann"
    await client.authenticate(tokenType="None")
    await client.until_value(who, lambda value: value is None)
    assert client.version["identity"] == 2
    assert (await client.mutation("who:whoamiMutation"))["result"] is None


async def test_users_share_what_nobody_looked_at_and_nothing_else(raw: Any, place: SignIn) -> None:
    """design promise 6"""
    results = []
    for subject in ("ann", "bob", "ann"):
        client = raw(place.server.ws_url)
        await client.open()
        await sign_in(client, place.oidc.token(subject))
        results.append([query.value for query in await follow(client, "who:indifferent", "who:looking")])
    (ann_shared, ann_own), (bob_shared, bob_own), (again_shared, again_own) = results
    assert ann_shared == bob_shared == again_shared
    assert ann_own == again_own != bob_own


async def test_tokens_are_not_admin_keys_nor_the_other_way_round(raw: Any, place: SignIn) -> None:
    """client-protocol 34"""
    wrong_user = raw(place.server.ws_url)
    await wrong_user.open()
    await wrong_user.modify()
    await wrong_user.authenticate(tokenType="User", value=ADMIN_KEY)
    assert (await refused(wrong_user))["authUpdateAttempted"] is True
    # Tools with a wrong admin key are told, and stay: closing would make them come back for ever (deployment-api 2).
    wrong_admin = raw(place.server.ws_url)
    await wrong_admin.open()
    await wrong_admin.modify()
    await wrong_admin.authenticate(tokenType="Admin", value=place.oidc.token("ann"))
    await wrong_admin.until(lambda: wrong_admin.auth_error is not None)
    assert wrong_admin.auth_error["authUpdateAttempted"] is True
    assert wrong_admin.closed is None
    client = raw(place.server.ws_url)
    await client.open()
    await sign_in(client, place.oidc.token("ann"))
    (operator, inside) = await follow(client, "who:askingForTheOperator", "who:lookingInside")
    assert operator.value[0] is False
    assert "Could not find public function" in inside.last["errorMessage"]


def _none(place: SignIn) -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"iss": place.oidc.url, "sub": "ann", "aud": "test-app", "exp": place.now_s() + 99}
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


BAD: dict[str, Callable[[SignIn], str]] = {
    "Could not parse JWT payload.": lambda place: "nonsense",
    "Could not verify OIDC token claim. InvalidAlgorithm": _none,
    "Could not verify OIDC token claim. Expired": lambda place: place.oidc.token("ann", exp=place.now_s() - 6),
    "Could not verify OIDC token claim. NotYetValid": lambda place: place.oidc.token("ann", nbf=place.now_s() + 60),
    "Could not verify OIDC token claim. InvalidSignature": lambda place: place.oidc.token("ann")[:-20] + "A" * 20,
    "Could not validate token: Expired": lambda place: place.custom.token("ann", exp=place.now_s() - 6),
    "No auth provider found matching the given token.": lambda place: place.oidc.token("ann", aud="another-app"),
    "Could not decode token. The JWT's 'kid'": lambda place: place.custom.sign(
        {"iss": place.custom.url, "sub": "a", "exp": place.now_s() + 99}, headers={"kid": "unknown"}
    ),
}


@pytest.mark.parametrize("text", BAD)
async def test_a_bad_token_is_an_auth_error(client: SyncClient, place: SignIn, text: str) -> None:
    """client-protocol 31: also for the second Authenticate of a connection"""
    await signed_in(client, place.oidc.token("ann"))
    await sign_in(client, BAD[text](place))
    error = await refused(client)
    assert error["error"].startswith(text)
    assert (error["authUpdateAttempted"], error["baseVersion"]) == (True, 1)


@pytest.mark.parametrize("kind", ["Mutation", "Action"])
async def test_an_expired_token_is_noticed_when_a_call_arrives(client: SyncClient, place: SignIn, kind: str) -> None:
    """client-protocol 32"""
    await follow(client, "who:indifferent")
    await signed_in(client, place.token_for(60))
    assert (await client.mutation("who:whoamiMutation"))["result"]["subject"] == "ann"
    place.advance(61)
    await client.request(kind, "who:whoami" + kind)
    error = await refused(client)
    assert error == {
        "type": "AuthError",
        "error": "Convex token identity expired",
        "baseVersion": 1,
        "authUpdateAttempted": False,
    }
    assert not [frame for frame in client.frames if frame["type"] == f"{kind}Response"][1:]


async def test_an_expired_token_is_noticed_when_there_is_something_to_tell(client: SyncClient, place: SignIn) -> None:
    """client-protocol 32: not by a timer"""
    (lines,) = await follow(client, "who:lines")
    await signed_in(client, place.token_for(60))
    place.advance(59)
    place.server.mutation("who:write", {"text": "before"})
    await client.until_value(lines, lambda value: "before" in value)
    place.advance(2)
    place.server.mutation("who:write", {"text": "after"})
    assert (await refused(client))["authUpdateAttempted"] is False
    assert "after" not in lines.value, "what is for a user goes to users only"


async def test_a_renewed_token_goes_on_where_the_old_one_ends(client: SyncClient, place: SignIn) -> None:
    """client-protocol 6.1"""
    (who,) = await follow(client, "who:whoami")
    await signed_in(client, place.token_for(60))
    await signed_in(client, place.token_for(600))
    place.advance(61)
    assert (await client.mutation("who:whoamiMutation"))["result"]["subject"] == "ann"
    assert len([update for update in who.updates if update["value"] is not None]) == 1


async def test_a_token_that_has_just_ended_is_asked_to_be_replaced(client: SyncClient, place: SignIn) -> None:
    """client-protocol 36: clocks may differ by 5 s, but no session lives on such a token"""
    await client.modify()
    await sign_in(client, place.token_for(-3))
    error = await refused(client)
    assert (error["error"], error["authUpdateAttempted"]) == ("Convex token identity expired", True)


async def test_when_a_provider_is_down_clients_are_asked_to_come_back(client: SyncClient, place: SignIn) -> None:
    """An AuthError would make the npm client sign its user out."""
    await client.modify()
    await sign_in(client, place.down.token("ann"))
    assert await client.until_closed() == (1013, "AuthProviderUnavailable")
    assert client.auth_error is None


async def test_what_follows_an_authenticate_waits_for_it(client: SyncClient, place: SignIn) -> None:
    """A call sent in one burst with the token runs as the user."""
    place.oidc.rotate()  # so that verifying takes a fetch
    await sign_in(client, place.oidc.token("ann"))
    request = await client.request("Mutation", "who:whoamiMutation")
    assert (await client.settled(request))["result"]["subject"] == "ann"
