"""Real servers: what they print, how they stop, who may share a data directory, what survives `kill -9`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.server import ADMIN_KEY, ReactorProcess, free_port
from tests.support.sync_client import Query, SyncClient

pytestmark = pytest.mark.process
Server = Callable[..., ReactorProcess]

DEADLY = """
import os
from reactor import MutationCtx, mutation


@mutation
async def kill(ctx: MutationCtx) -> None:
    os.kill(os.getpid(), 9)
"""

STUCK = """
import asyncio
import ctypes
import sys
from reactor import CTX, KIND


def block():
    sys.stderr.write("waiting now\\n")
    sys.stderr.flush()
    ctypes.CDLL(None).sleep(1000)


@KIND
async def sleep(ctx: CTX) -> None:
    if "KIND" == "action":
        await asyncio.to_thread(block)
    else:
        block()
"""

SLOW = """
import asyncio
import sys
from reactor import ActionCtx, action


@action
async def wait(ctx: ActionCtx) -> str:
    sys.stderr.write("waiting now\\n")
    sys.stderr.flush()
    await asyncio.sleep(1)
    return "done"
"""


def test_dev_prints_where_it_is_and_what_a_front_end_needs(app: Path, server: Server) -> None:
    running = server(app).start()
    assert running.query("notes:word") == "first"
    running.terminate()
    log = running.log()
    assert f"VITE_CONVEX_URL={running.url}" in log
    assert ADMIN_KEY in log
    assert f"http://127.0.0.1:{running.site_port}" in log
    assert "3 functions in 1 module" in log
    assert "ready in" in log


@pytest.mark.parametrize("mode", ["dev", "serve"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(app: Path, server: Server, mode: str, number: int) -> None:
    running = server(app, mode=mode).start()
    running.mutation("notes:add", {"text": "kept"})
    os.kill(running.pid, number)
    assert running.wait_exit() == 0
    assert "Traceback" not in running.log()
    assert "stopped" in running.log()
    assert not list(running.data.glob("*-wal")), "the last checkpoint was not made"
    running.start()
    assert running.query("notes:count") == 1


async def test_stopping_closes_sockets_with_1012_so_that_clients_come_back(app: Path, server: Server) -> None:
    running = server(app).start()
    client = SyncClient(running.ws_url)
    await client.open()
    await client.subscribe("notes:count")
    assert running.terminate() == 0
    code, _ = await client.until_closed()
    assert code == 1012
    running.start()
    await client.reopen()
    await client.barrier()
    await client.close()


async def test_what_was_accepted_before_the_signal_is_committed(app: Path, server: Server) -> None:
    running = server(app).start()
    client = SyncClient(running.ws_url)
    await client.open()
    for number in range(200):
        await client.request("Mutation", "notes:add", {"text": str(number)})
    await client.response(0)
    assert running.terminate() == 0
    await client.until_closed()
    answered = len(client.responses)
    running.start()
    count = running.query("notes:count")
    assert answered <= count <= 200
    assert "Traceback" not in running.log()


def test_a_request_under_way_is_answered_before_the_end(app: Path, server: Server) -> None:
    (app / "functions" / "slow.py").write_text(SLOW)
    running = server(app).start()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(running.call, "action", "slow:wait")
        _wait_until(lambda: "waiting now" in running.log())
        os.kill(running.pid, signal.SIGTERM)
        assert answer.result(30)["value"] == "done"
    assert running.wait_exit() == 0


def test_a_second_signal_ends_it_at_once(app: Path, server: Server) -> None:
    (app / "functions" / "slow.py").write_text(SLOW.replace("sleep(1)", "sleep(1000)"))
    running = server(app).start()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(running.call, "action", "slow:wait")
        _wait_until(lambda: "waiting now" in running.log())
        os.kill(running.pid, signal.SIGINT)
        _wait_until(lambda: "stopping" in running.log())
        _wait_until(lambda: _stopped_by_another(running))
        assert isinstance(answer.exception(30), httpx.TransportError)


def _stopped_by_another(running: ReactorProcess) -> bool:
    """Signals that come within half a second are one: so again and again."""
    if running.running:
        os.kill(running.pid, signal.SIGINT)
        return False
    assert running.wait_exit() == 130
    return True


@pytest.mark.parametrize("kind", ["query", "mutation", "action"])
def test_a_function_stuck_in_a_c_call_does_not_keep_it_from_ending(app: Path, server: Server, kind: str) -> None:
    """Engine rule 21: a grace period, then it exits."""
    (app / "functions" / "stuck.py").write_text(STUCK.replace("KIND", kind).replace("CTX", kind.capitalize() + "Ctx"))
    running = server(app, env={"REACTOR_STOP_GRACE_S": "1"}).start()
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(running.call, kind, "stuck:sleep")
        _wait_until(lambda: "waiting now" in running.log())
        os.kill(running.pid, signal.SIGTERM)
        running.wait_exit(40)
        assert isinstance(answer.exception(30), httpx.HTTPError)
    running.start()
    assert running.query("notes:word") == "first"


@pytest.mark.parametrize("mode", ["dev", "serve"])
def test_a_second_process_on_the_same_data_is_refused_by_name(app: Path, server: Server, mode: str) -> None:
    first = server(app).start()
    second = server(app, mode=mode)
    second.data = first.data
    second.start(ready=False)
    assert second.wait_exit() == 2
    assert "is in use by another reactor" in second.log()
    assert str(first.pid) in second.log()
    assert "Traceback" not in second.log()
    assert first.query("notes:word") == "first"


@pytest.mark.parametrize("mode", ["dev", "serve"])
def test_a_port_in_use_is_refused_with_what_to_do(app: Path, server: Server, mode: str) -> None:
    running = server(app, mode=mode)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", running.port))
        taken.listen()
        running.start(ready=False)
        assert running.wait_exit() == 2
    assert f"can't listen on 127.0.0.1 port {running.port}: something else already listens there" in running.log()
    assert "--port" in running.log()


def test_acknowledged_mutations_survive_kill_9(app: Path, server: Server) -> None:
    running = server(app).start()
    acknowledged = 0
    stop = threading.Event()

    def write() -> None:
        nonlocal acknowledged
        with httpx.Client(base_url=running.url, timeout=10) as http:
            while not stop.is_set():
                try:
                    answer = http.post("/api/mutation", json={"path": "notes:add", "args": {"text": "x"}})
                except httpx.TransportError:
                    return
                acknowledged += answer.json()["status"] == "success"
                if acknowledged == 20:
                    stop_soon.set()

    stop_soon = threading.Event()
    writer = threading.Thread(target=write)
    writer.start()
    assert stop_soon.wait(30)
    running.kill()
    stop.set()
    writer.join()
    running.start()
    assert acknowledged <= running.query("notes:count") <= acknowledged + 1


def test_serve_starts_again_when_its_process_is_killed(app: Path, server: Server) -> None:
    running = server(app, mode="serve").start()
    running.mutation("notes:add", {"text": "x"})
    child = _child_of(running.pid)
    os.kill(child, signal.SIGKILL)
    # The listening sockets belong to the parent: the next request waits for the new server.
    assert running.query("notes:count") == 1
    assert _child_of(running.pid) != child
    assert "SIGKILL; starting it again" in running.log()
    assert running.terminate() == 0


def test_a_killed_parent_takes_the_server_with_it(app: Path, server: Server) -> None:
    running = server(app, mode="serve").start()
    os.kill(running.pid, signal.SIGKILL)
    running.wait_exit()
    running.start()
    assert running.query("notes:word") == "first"


def test_serve_starts_again_when_a_c_call_never_gives_up_the_gil(app: Path, server: Server) -> None:
    """Engine rule 20."""
    (app / "functions" / "stuck.py").write_text(
        "from reactor import ActionCtx, action\n\n\n@action\nasync def forever(ctx: ActionCtx) -> None:\n"
        "    import ctypes\n\n    ctypes.PyDLL(None).sleep(1000)\n"
    )
    running = server(app, mode="serve", env={"REACTOR_HANG_AFTER_S": "2"}).start()
    with pytest.raises(httpx.TransportError):
        running.call("action", "stuck:forever")
    assert running.query("notes:word") == "first"
    assert "starting it again" in running.log()
    assert 'stuck.py", line' in running.log(), "the stacks say where it hung"


async def test_a_mutation_that_kills_the_server_is_not_run_for_ever(app: Path, server: Server) -> None:
    """Engine rule 20: clients resend what was not answered."""
    (app / "functions" / "deadly.py").write_text(DEADLY)
    running = server(app, mode="serve").start()
    client = SyncClient(running.ws_url)
    await client.open()
    number = await client.request("Mutation", "deadly:kill")
    for _ in range(2):
        await client.until_closed()
        await client.reopen()
        await client.request("Mutation", "deadly:kill", request_id=number)
    answer = await client.response(number)
    assert answer["success"] is False
    assert running.log().count("starting it again") == 2
    assert running.query("notes:word") == "first"
    assert (await client.mutation("notes:add", {"text": "others go on"}))["success"]
    await client.close()


async def test_without_a_given_admin_key_one_is_made_and_can_be_replaced_while_the_server_runs(app: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environ = {**os.environ, "REACTOR_ADMIN_KEY": "", "COLUMNS": "200"}

    def key_of(*arguments: str) -> str:
        command = [sys.executable, "-m", "reactor.cli", "admin-key", *arguments, f"--app={app}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, env=environ).stdout.strip()

    def opens(key: str) -> bool:
        body = {"path": "notes:word", "args": {}}
        return http.post(f"{url}/api/function", json=body, headers={"Authorization": f"Convex {key}"}).is_success

    async def connected(key: str, **more: object) -> tuple[SyncClient, Query]:
        client = SyncClient(f"ws://127.0.0.1:{port}/api/1.48.0/sync")
        await client.open()
        await client.authenticate(tokenType="Admin", value=key, **more)
        return client, await client.subscribe("notes:count")

    async def is_thrown_out(client: SyncClient) -> bool:
        await client.until_closed()
        assert client.auth_error is not None
        assert client.auth_error["authUpdateAttempted"] is False
        return "deploy key was invalid" in client.auth_error["error"]

    printed = []
    for start in range(2):
        process = subprocess.Popen(
            [sys.executable, "-m", "reactor.cli", "dev", str(app), f"--port={port}", "--site-port=0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )
        try:
            assert process.stdout is not None
            printed.append(next(line.split()[-1] for line in process.stdout if "Admin key" in line))
            with httpx.Client(timeout=30) as http:
                assert key_of() == printed[start]
                assert opens(printed[start])
                if start == 0:
                    follower, _ = await connected(printed[0])
                    actor, _ = await connected(printed[0], actingAs={"subject": "u1", "issuer": "https://i.example"})
                    new = key_of("new")
                    assert (opens(new), opens(printed[0])) == (True, False)
                    successor, count = await connected(new)
                    # Refused, not run: the next one is the first.
                    await actor.request("Mutation", "notes:add", {"text": "by the old key"})
                    assert await is_thrown_out(actor)
                    assert (await successor.mutation("notes:add", {"text": "by the new key"}))["success"]
                    assert count.value == 1
                    assert await is_thrown_out(follower)
                    assert len(follower.transitions) == 1, "no result after the key was replaced"
                    await successor.close()
        finally:
            process.terminate()
            process.communicate(timeout=30)
    assert printed[1] == new, "and it is printed at every start"


def test_the_site_port_says_that_there_are_no_http_actions(app: Path, server: Server) -> None:
    running = server(app).start()
    answer = httpx.get(f"http://127.0.0.1:{running.site_port}/hook")
    assert answer.status_code == 404
    assert answer.text == "This Convex deployment does not have HTTP actions enabled."


def test_the_first_page_lists_the_functions_in_development_only(app: Path, server: Server) -> None:
    html = {"Accept": "text/html,*/*"}
    running = server(app).start()
    page = httpx.get(f"{running.url}/", headers=html)
    assert page.headers["content-type"].startswith("text/html")
    assert "notes:word" in page.text
    assert running.url in page.text
    assert "running" in httpx.get(f"{running.url}/").text, "checklist 43: plain text for everybody else"
    running.terminate()
    production = server(app, mode="serve").start()
    assert "notes:word" not in httpx.get(f"{production.url}/", headers=html).text


def test_time_moves_only_when_told_with_a_manual_clock(conformance: Path, server: Server) -> None:
    (conformance / "functions" / "clock.py").write_text(
        "from reactor import QueryCtx, query\n\n\n@query\nasync def now(ctx: QueryCtx) -> float:\n    return ctx.now()\n"
    )
    running = server(conformance, options=("--manual-clock",)).start()
    before = running.query("clock:now")
    assert running.query("clock:now") == before
    url = f"{running.url}/api/testing/advance_clock"
    assert httpx.post(url, json={"advance_ms": 1}).status_code == 403
    operator = {"Authorization": f"Convex {ADMIN_KEY}"}
    for wrong in ({}, {"advance_ms": "1"}, {"advance_ms": -1}):
        assert httpx.post(url, json=wrong, headers=operator).status_code == 400, wrong
    assert httpx.post(url, json={"advance_ms": 3_600_000}, headers=operator).json() == {"now_ms": before + 3_600_000}
    running.mutation("counters:increment", {"name": "x"})  # a commit: cached results of the time before are gone
    assert running.query("clock:now") >= before + 3_600_000


def test_without_a_manual_clock_nobody_moves_time(app: Path, server: Server) -> None:
    running = server(app).start()
    operator = {"Authorization": f"Convex {ADMIN_KEY}"}
    answer = httpx.post(f"{running.url}/api/testing/advance_clock", json={"advance_ms": 1}, headers=operator)
    assert answer.status_code == 400


def _wait_until(condition: Callable[[], bool]) -> None:
    """Polling: nothing tells when a log file grows."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "waited 20 s in vain"
        time.sleep(0.02)


def _child_of(pid: int) -> int:
    """The only child process of `pid` (Linux)."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    assert len(children) == 1, children
    return int(children[0])


def test_requests_that_do_not_go_on_are_given_up_on_both_ports(app: Path, server: Server) -> None:
    (app / "pyproject.toml").write_text("[tool.reactor.limits]\nrequest_stall_s = 0.1\n")
    running = server(app).start()
    for port in (running.port, running.site_port):
        with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
            client.sendall(b"POST /api/query HTTP/1.1\r\nhost: x\r\ncontent-")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"RequestTimeout" in answer
    assert running.query("notes:count") == 0
