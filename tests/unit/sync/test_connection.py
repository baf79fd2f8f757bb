"""The sync protocol over real sockets: uvicorn here, a strict client there, a fake backend between."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from reactor.auth.authenticator import AuthenticationError
from reactor.auth.identity import Caller, UserIdentity, make_caller
from reactor.clock import SystemClock
from reactor.limits import Limits
from tests.support.door import ADMIN_KEY, Door, open_door
from tests.support.sync_client import SyncClient, ts_of


@pytest.fixture
async def client(door: Door) -> AsyncIterator[SyncClient]:
    client = SyncClient(door.ws)
    await client.open()
    yield client
    await client.close()


@pytest.mark.parametrize("headers", [{}, {"Convex-Client": "python-0.8.1"}, {"Convex-Client": "npm-1.48.0"}])
@pytest.mark.parametrize(
    "path",
    ["/api/sync", "/api/1.45.0/sync", "/api/1.48.0/sync", "/api/sync?clientVersion=x", "//api/1.48.0/sync"],
)
async def test_every_spelling_of_the_endpoint_upgrades(door: Door, path: str, headers: dict[str, str]) -> None:
    """client-protocol 1."""
    client = SyncClient(f"ws://{door.host}{path}", headers=headers)
    await client.open()
    query = await client.subscribe("counters:get", {"name": "a"})
    assert query.value == 0
    await client.close()


@pytest.mark.parametrize("path", ["/api/1.48.0/sink", "/sync", "/api/a/b/sync", "/"])
async def test_other_paths_do_not_upgrade(door: Door, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(f"ws://{door.host}{path}"):
            pass
    assert refused.value.response.status_code == 404
    assert json.loads(refused.value.response.body or b"")["code"] == "NotFound"
    assert "ERROR" not in caplog.text


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/api/nonsense/sync", {}, "InvalidClientVersion"),
        ("/api/1.x.0/sync", {}, "InvalidClientVersion"),
        ("/api/1.48.0/sync", {"Convex-Client": "npm-x"}, "InvalidClientVersion"),
        ("/api/0.19.1/sync", {}, "ClientVersionUnsupported"),
    ],
)
async def test_a_version_that_is_none_is_refused_before_the_upgrade(
    door: Door, path: str, headers: dict[str, str], code: str
) -> None:
    """Section 1.1."""
    with pytest.raises(websockets.InvalidStatus) as refused:
        async with connect(f"ws://{door.host}{path}", additional_headers=headers):
            pass
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body or b"")["code"] == code


async def test_a_client_that_only_says_connect_and_leaves_is_no_error(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    """client-protocol 2."""
    client = SyncClient(door.rust_ws)
    await client.open()
    await client.close()
    silent = SyncClient(door.rust_ws)
    await silent.open(hello=False)
    await silent.abort()
    async with asyncio.timeout(10):
        while door.sync.connections:
            await asyncio.sleep(0.01)
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


async def test_a_burst_of_connect_authenticate_and_query_set_gives_one_transition(door: Door) -> None:
    """client-protocol 4."""
    client = SyncClient(door.ws)
    await client.open()
    await client.authenticate(tokenType="None")
    query = await client.subscribe("counters:get", {"name": "a"})
    assert len(client.transitions) == 1
    assert {key: client.version[key] for key in ("querySet", "identity")} == {"querySet": 1, "identity": 1}
    assert query.value == 0
    await client.close()


async def test_a_client_that_follows_nothing_gets_its_identity_and_its_mutation(door: Door) -> None:
    """client-protocol 5."""
    client = SyncClient(door.rust_ws, headers={"Convex-Client": "python-0.8.1"})
    await client.open()
    await client.authenticate(tokenType="None")
    await client.until(lambda: client.version["identity"] == 1)
    answer = await client.mutation("counters:add", {"name": "a"})
    assert (answer["success"], answer["result"]) == (True, 1)
    assert client.transitions[-1]["modifications"] == []
    await client.close()


async def test_a_write_reaches_its_subscribers_and_nobody_else(door: Door, client: SyncClient) -> None:
    """client-protocol 11, 12, 13."""
    a, b = await client.add(("counters:get", {"name": "a"}), ("counters:get", {"name": "b"}))
    assert len(client.transitions) == 1
    door.backend.commit("a")
    await client.until_value(a, lambda value: value == 1)
    await client.remove(b)
    door.backend.commit("b")
    door.backend.commit("a")
    await client.until_value(a, lambda value: value == 2)
    assert len(b.updates) == 1
    assert b.id not in client.queries


async def test_queries_of_one_transition_are_of_one_time(door: Door, client: SyncClient) -> None:
    """client-protocol 14."""
    a, b = await client.add(("counters:get", {"name": "x"}), ("counters:get", {"name": "x"}))
    for _ in range(50):
        door.backend.commit("x")
    await client.until_value(a, lambda value: value == 50)
    assert [update["value"] for update in a.updates] == [update["value"] for update in b.updates]


async def test_failing_queries_recover(door: Door, client: SyncClient) -> None:
    """client-protocol 15 and 16."""
    fails, other, unknown = await client.add(
        ("counters:get", {"name": "a"}), ("counters:get", {"name": "b"}), ("nope:nope", {})
    )
    assert unknown.last["type"] == "QueryFailed"
    assert "Could not find public function for 'nope:nope'" in unknown.last["errorMessage"]
    door.backend.commit("a", by=-1)
    await client.until(lambda: fails.last["type"] == "QueryFailed")
    assert "errorData" not in fails.last
    door.backend.commit("a", by=14)
    await client.until(lambda: "errorData" in fails.last)
    assert fails.last["errorData"] == {"luck": "bad"}
    door.backend.commit("a")
    await client.until_value(fails, lambda value: value == 14)
    assert other.value == 0


async def test_journals_come_back_and_are_taken_back(door: Door, client: SyncClient) -> None:
    """client-protocol 53, the protocol's part."""
    page = await client.subscribe("counters:page", {})
    assert page.journal == "end0"
    door.backend.commit("page")
    await client.reopen()
    await client.until(lambda: len(page.updates) == 2)
    assert page.journal == "end0"


async def test_five_aborted_connections_are_each_restored(door: Door, client: SyncClient) -> None:
    """client-protocol 19."""
    query = await client.subscribe("counters:get", {"name": "a"})
    for round_ in range(1, 6):
        await client.reopen()
        door.backend.commit("a")
        await client.until_value(query, lambda value, round_=round_: value == round_)


async def test_responses_come_before_their_transitions(door: Door, client: SyncClient) -> None:
    """client-protocol 20 and 26: the transition that pays for the response is the one with the new value."""
    query = await client.subscribe("counters:get", {"name": "a"})
    await client.mutation("counters:add", {"name": "a"})
    kinds = [frame["type"] for frame in client.frames]
    assert kinds == ["Transition", "MutationResponse", "Transition"]
    assert query.value == 1
    for path in ("counters:read", "demo:boom", "demo:convexError"):
        answer = await client.mutation(path, {"name": "a"})
        assert client.frames[-2] == answer
        assert client.frames[-1]["type"] == "Transition"
        assert ("errorData" in answer) == (path == "demo:convexError")


async def test_mutations_run_in_the_order_they_were_sent(door: Door, client: SyncClient) -> None:
    """client-protocol 21."""
    ids = [await client.request("Mutation", "counters:add", {"name": "a"}) for _ in range(100)]
    assert [(await client.settled(request_id))["result"] for request_id in ids] == list(range(1, 101))


async def test_a_resent_mutation_gets_its_first_answer(door: Door, client: SyncClient) -> None:
    """client-protocol 22: with the original timestamp, and a transition once more."""
    first = await client.mutation("counters:add", {"name": "a"})
    await client.reopen()
    again = await client.mutation("counters:add", {"name": "a"}, request_id=first["requestId"])
    assert again == first
    assert door.backend.counters["a"] == 1
    assert ts_of(client.version["ts"]) >= ts_of(first["ts"])


async def test_a_mutation_resent_while_it_runs_is_not_run_twice(door: Door, client: SyncClient) -> None:
    """client-protocol 25 and 28: nor does the dead connection's answer reach the new one a second time."""
    gate = door.backend.hold("mutation")
    request_id = await client.request("Mutation", "counters:add", {"name": "a"})
    await client.barrier()
    await client.reopen()
    await client.request("Mutation", "counters:add", {"name": "a"}, request_id=request_id)
    await client.barrier()
    gate.set()
    assert (await client.settled(request_id))["result"] == 1
    assert len(door.backend.ran) == 1
    await client.barrier()
    assert len([frame for frame in client.frames if frame["type"] == "MutationResponse"]) == 1


async def test_actions_answer_without_waiting_for_anything(door: Door, client: SyncClient) -> None:
    """client-protocol 27."""
    assert (await client.action("demo:echo", {"x": 1}))["result"] == {"x": 1}
    failed = await client.action("demo:convexError")
    assert (failed["success"], failed["errorData"]) == (False, {"why": "bad"})
    gate = door.backend.hold("action")
    slow = await client.request("Action", "demo:echo", {"x": 2})
    assert (await client.mutation("counters:add", {"name": "a"}))["result"] == 1
    assert slow not in client.responses
    gate.set()
    assert (await client.response(slow))["result"] == {"x": 2}


async def test_an_action_outlives_its_connection_and_its_result_is_dropped(door: Door, client: SyncClient) -> None:
    """client-protocol 27."""
    gate = door.backend.hold("action")
    request_id = await client.request("Action", "demo:echo", {"x": 1})
    await client.barrier()
    assert door.backend.actions_running == 1
    await client.reopen()
    gate.set()
    await door.sync.finish_actions(10)
    assert door.backend.actions_ended == 1
    await client.barrier()
    assert request_id not in client.responses


async def test_an_action_in_flight_does_not_hold_back_transitions_of_others(door: Door, client: SyncClient) -> None:
    gate = door.backend.hold("action")
    await client.request("Action", "demo:echo")
    query = await client.subscribe("counters:get", {"name": "a"})
    door.backend.commit("a")
    await client.until_value(query, lambda value: value == 1)
    gate.set()
    await client.until(lambda: len(client.responses) == 1)


async def test_the_1001st_queued_mutation_closes_with_1013(door: Door, client: SyncClient) -> None:
    """client-protocol 29."""
    gate = door.backend.hold("mutation")
    for _ in range(1001):
        await client.request("Mutation", "counters:add", {"name": "a"})
    assert await client.until_closed() == (1013, "TooManyConcurrentMutations")
    assert 0 < len(door.backend.mutations) <= 1000
    gate.set()
    await client.abort()


@pytest.mark.parametrize("spelling", ["impersonating", "acting_as"])
async def test_the_operator_may_act_as_a_user_and_call_internal_functions(
    door: Door, client: SyncClient, spelling: str
) -> None:
    """client-protocol 34."""
    who, secret = await client.add(("auth:whoami", {}), ("internal:secret", {}))
    assert who.value is None
    assert secret.last["type"] == "QueryFailed"
    user = {"subject": "u1", "issuer": "https://i", "name": "N"}
    await client.authenticate(tokenType="Admin", value=ADMIN_KEY, **{spelling: user})
    await client.until_value(who, lambda value: value is not None)
    assert who.value == {**user, "tokenIdentifier": "https://i|u1"}
    assert secret.value == "secret"
    await client.authenticate(tokenType="None")
    await client.until_value(who, lambda value: value is None)
    assert client.version["identity"] == 2


async def test_a_refused_token_is_an_auth_error_and_a_close(door: Door, client: SyncClient) -> None:
    """client-protocol 31."""
    await client.authenticate(tokenType="None")
    await client.authenticate(tokenType="User", value="e30.e30.e30")
    await client.until_closed()
    assert client.fatal is None
    assert client.auth_error is not None
    assert "no providers configured" in client.auth_error["error"]
    assert client.auth_error["baseVersion"] == 1
    assert client.auth_error["authUpdateAttempted"] is True


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"value": "test|wrong"}, "deploy key was invalid"),
        ({"value": ADMIN_KEY, "impersonating": {"name": "N"}}, '"tokenIdentifier"'),
    ],
)
async def test_a_refused_admin_key_is_an_auth_error_and_the_client_stays_as_nobody(
    door: Door, client: SyncClient, what: dict[str, object], text: str
) -> None:
    """client-protocol 34, deployment-api 1.4."""
    await client.authenticate(tokenType="Admin", **what)
    await client.until(lambda: client.auth_error is not None)
    assert client.auth_error is not None
    assert text in client.auth_error["error"]
    assert (client.auth_error["baseVersion"], client.auth_error["authUpdateAttempted"]) == (0, True)
    who = await client.subscribe("auth:whoami")
    assert who.value is None
    assert client.version["identity"] == 0
    client.identity = 0
    await client.authenticate(tokenType="Admin", value=ADMIN_KEY)
    await client.until(lambda: client.version["identity"] == 1)


class OneToken:
    """Knows one token, and takes its time: the answer comes when a test says so."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def authenticate(self, token: str) -> Caller:
        await self.go.wait()
        if token != "ann":
            raise AuthenticationError("Could not validate token: unknown", code="InvalidAuthHeader")
        return make_caller(UserIdentity("ann", "https://i", "https://i|ann"))


async def test_what_follows_a_token_waits_for_its_verification() -> None:
    """client-protocol 30: the mutation sent behind the token runs as that user."""
    authenticator = OneToken()
    async with open_door(authenticator=authenticator) as door:
        client = SyncClient(door.ws)
        await client.open()
        await client.authenticate(tokenType="User", value="ann")
        request_id = await client.request("Mutation", "auth:whoami")
        authenticator.go.set()
        assert (await client.settled(request_id))["result"]["subject"] == "ann"
        await client.close()


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        '{"type":"Nope"}',
        '{"type":"ModifyQuerySet","baseVersion":5,"newVersion":6,"modifications":[]}',
        '{"type":"Connect","sessionId":"x","connectionCount":0}',
    ],
)
async def test_misuse_is_a_fatal_error_and_a_close(door: Door, client: SyncClient, text: str) -> None:
    """client-protocol 18, "Later findings"."""
    await client.barrier()
    await client.socket.send(text)
    await client.until_closed()
    assert client.fatal is not None
    assert client.closed is not None
    assert client.closed[0] == 1005, "a close frame without a status"
    assert door.sync.connections == 0


async def test_a_binary_message_closes_without_fatal_error(door: Door, client: SyncClient) -> None:
    await client.socket.send(b"\x00")
    assert (await client.until_closed())[0] == 1003
    assert client.fatal is None


async def test_a_message_over_the_limit_closes_with_1009() -> None:
    async with open_door(limits=Limits(client_message_bytes=10_000)) as door:
        client = SyncClient(door.ws)
        await client.open()
        await client.request("Mutation", "demo:echo", {"x": "x" * 20_000})
        assert (await client.until_closed())[0] == 1009
        assert client.fatal is None


async def test_half_a_surrogate_pair_reaches_the_function_and_not_the_connection(
    door: Door, client: SyncClient
) -> None:
    await client.socket.send(r'{"type":"Mutation","requestId":0,"udfPath":"demo:echo","args":[{"s":"\ud800"}]}')
    client._asked.add(0)
    await client.response(0)
    assert json.dumps(json.loads(door.backend.ran[0][1])) == r'{"s": "\ud800"}'


async def test_shutting_down_closes_with_a_code_that_clients_come_back_from(door: Door, client: SyncClient) -> None:
    """client-protocol 9."""
    await client.subscribe("counters:get", {"name": "a"})
    door.sync.close_all()
    assert (await client.until_closed())[0] == 1012
    assert client.fatal is None
    with pytest.raises(websockets.InvalidStatus) as refused:
        await SyncClient(door.ws).open()
    assert refused.value.response.status_code == 503


async def test_a_stopping_uvicorn_closes_with_1012() -> None:
    """client-protocol 9."""
    async with open_door(whole_server=True) as door:
        client = SyncClient(door.ws)
        await client.open()
        await client.subscribe("counters:get", {"name": "a"})
    assert (await client.until_closed())[0] == 1012


async def test_a_failing_backend_closes_with_a_reason_that_makes_clients_wait(
    door: Door, client: SyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("a bug")

    door.backend.run_query = explode  # type: ignore[method-assign, assignment]
    await client.modify({"type": "Add", "queryId": 0, "udfPath": "counters:get", "args": [{"name": "a"}]})
    assert await client.until_closed() == (1011, "InternalServerError")
    assert "a bug" in caplog.text


async def test_an_idle_connection_is_pinged_and_a_client_that_answers_pings_stays() -> None:
    """client-protocol 6 and 7, with the times divided by a hundred."""
    limits = Limits(ping_interval_s=0.15, client_silence_s=1.2)
    async with open_door(limits=limits, clock=SystemClock()) as door:
        client = SyncClient(door.ws)
        await client.open()
        await client.until(lambda: len(client.frames) >= 25)  # 25 pings take longer than the silence allowed
        assert {frame["type"] for frame in client.frames} == {"Ping"}
        assert client.closed is None
        await client.close()


async def test_a_client_that_answers_nothing_is_dropped() -> None:
    """client-protocol 7, with the times divided by a hundred."""
    limits = Limits(ping_interval_s=0.15, client_silence_s=1.2)
    async with open_door(limits=limits, clock=SystemClock()) as door:
        reader, writer = await asyncio.open_connection(*door.host.split(":"))
        writer.write(
            b"GET /api/sync HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        async with asyncio.timeout(20):
            received = await reader.readuntil(b"\r\n\r\n")
            assert b"101" in received.split(b"\r\n")[0]
            while door.sync.connections:
                await asyncio.sleep(0.02)
        writer.close()


async def test_a_large_transition_reaches_npm_in_chunks(door: Door, client: SyncClient) -> None:
    """client-protocol 56."""
    door.backend.big = "ü" * 6_000_000
    query = await client.subscribe("big:get", {})
    assert query.value == door.backend.big
    chunks = [frame for frame in client.frames if frame["type"] == "TransitionChunk"]
    assert len(chunks) == 3


async def test_a_large_transition_reaches_others_in_fragments(door: Door) -> None:
    """client-protocol 56 and section 0.8."""
    door.backend.big = "x" * 15_000_000
    async with connect(door.rust_ws, max_size=(None, 3 * 1024 * 1024), compression=None) as socket:
        await socket.send('{"type":"Connect","sessionId":"0adb56b5-8c7e-467c-bfe3-f8fda4e3d000","connectionCount":0}')
        add = [
            {"type": "Add", "queryId": query_id, "udfPath": "big:get", "args": [{"n": query_id}]}
            for query_id in range(2)
        ]
        await socket.send(
            json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": add})
        )
        transition = json.loads(await socket.recv())
    assert transition["type"] == "Transition"
    assert [len(change["value"]) for change in transition["modifications"]] == [15_000_000] * 2


async def test_an_old_npm_client_gets_no_chunks(door: Door) -> None:
    door.backend.big = "x" * 6_000_000
    client = SyncClient(f"ws://{door.host}/api/1.27.9/sync")
    await client.open()
    await client.subscribe("big:get", {})
    assert [frame["type"] for frame in client.frames] == ["Transition"]
    await client.close()


async def test_compression_can_be_switched_on() -> None:
    async with open_door(compress=True) as door:
        door.backend.big = "x" * 9_000_000
        async with connect(door.rust_ws, max_size=None) as socket:
            assert socket.protocol.extensions
            await socket.send(
                '{"type":"Connect","sessionId":"0adb56b5-8c7e-467c-bfe3-f8fda4e3d000","connectionCount":0}'
            )
            await socket.send(
                '{"type":"ModifyQuerySet","baseVersion":0,"newVersion":1,"modifications":'
                '[{"type":"Add","queryId":0,"udfPath":"big:get","args":[{}]}]}'
            )
            transition = json.loads(await socket.recv())
            assert len(transition["modifications"][0]["value"]) == 9_000_000


async def test_the_protocol_works_in_a_server_that_offers_only_asgi(foreign_door: Door) -> None:
    """Mounted in somebody else's application there is no transport to see."""
    door = foreign_door
    client = SyncClient(door.ws)
    await client.open()
    query = await client.subscribe("counters:get", {"name": "a"})
    assert (await client.mutation("counters:add", {"name": "a"}))["result"] == 1
    door.backend.commit("a")
    await client.until_value(query, lambda value: value == 2)
    await client.authenticate(tokenType="User", value="nobody")
    await client.until_closed()
    assert client.auth_error is not None
    async with asyncio.timeout(10):
        while door.sync.connections:
            await asyncio.sleep(0.01)


async def test_a_foreign_server_s_shutdown_ends_the_connections(foreign_door: Door) -> None:
    client = SyncClient(foreign_door.ws)
    await client.open()
    await client.subscribe("counters:get", {"name": "a"})
    foreign_door.sync.close_all()
    assert (await client.until_closed())[0] == 1012


async def test_the_endpoint_works_below_a_mount() -> None:
    def wrap(app):  # type: ignore[no-untyped-def]
        async def mounted(scope, receive, send):  # type: ignore[no-untyped-def]
            await app({**scope, "root_path": "/live"}, receive, send)

        return mounted

    async with open_door(wrap=wrap) as door:
        client = SyncClient(f"ws://{door.host}/live/api/1.48.0/sync")
        await client.open()
        assert (await client.subscribe("counters:get", {"name": "a"})).value == 0
        await client.close()


async def test_frames_that_break_the_websocket_protocol_close_the_connection(door: Door) -> None:
    """Section 7, "Later findings": invalid UTF-8 is 1007."""
    async with connect(door.ws, compression=None) as socket:
        await socket.send(b"\xff\xfe", text=True)
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1007
