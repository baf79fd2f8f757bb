"""(k) Import and export of many documents: rates, memory, and what clients that go on writing see of it meanwhile.

Baselines in the same run: reading the same lines with `json` and inserting them with `sqlite3` in one transaction, for the
import; reading them from there, `json` and a `zipfile`, for the export. Latencies: a mutation now and then from each of four
clients, with nothing else going on, during the import, during an append to what was imported, and during the export.

    python benchmarks/transfer.py [--documents 100000]
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import sqlite3
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

from load import ADMIN_KEY, HERE, free_port, process

PAUSE_S = 0.02
CLIENTS = 4
PART = 5 * 1024 * 1024
WANTED_MIB = 300


def make_lines(path: Path, count: int, seed: int) -> None:
    random.seed(seed)
    words = [f"word{n:03}" for n in range(500)]
    with path.open("w") as out:
        for n in range(count):
            text = " ".join(random.choices(words, k=18))
            event = {
                "stream": f"s{n % 1000}",
                "kind": random.choice("abcd"),
                "text": text,
                "value": random.random() * 1e6,
            }
            out.write(json.dumps({**event, "tags": random.choices(words, k=3)}) + "\n")


def with_sqlite3(lines: Path, database: Path) -> float:
    began = time.perf_counter()
    raw = sqlite3.connect(database)
    raw.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, stream, kind, text, value, tags)")
    raw.execute("CREATE INDEX by_stream ON events (stream, value)")
    with lines.open() as file:
        for line in file:
            event = json.loads(line)
            row = (event["stream"], event["kind"], event["text"], event["value"], json.dumps(event["tags"]))
            raw.execute("INSERT INTO events (stream, kind, text, value, tags) VALUES (?, ?, ?, ?, ?)", row)
    raw.commit()
    raw.close()
    return time.perf_counter() - began


def out_of_sqlite3(database: Path, archive: Path) -> float:
    began = time.perf_counter()
    raw = sqlite3.connect(database)
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped,
        zipped.open("events", "w", force_zip64=True) as out,
    ):
        for row in raw.execute("SELECT id, stream, kind, text, value, tags FROM events"):
            event = dict(zip(("id", "stream", "kind", "text", "value", "tags"), row, strict=True))
            out.write(json.dumps(event).encode() + b"\n")
    raw.close()
    return time.perf_counter() - began


class Caller:
    """One client on one connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)

    def post(self, path: str, body: bytes, *, admin: bool = False) -> Any:
        headers = {"Content-Type": "application/json"}
        if admin:
            headers["Authorization"] = f"Convex {ADMIN_KEY}"
        self.connection.request("POST", path, body, headers)
        response = self.connection.getresponse()
        answer = response.read()
        assert response.status == 200, (path, response.status, answer[:500])
        return json.loads(answer) if answer else None

    def call(self, kind: str, path: str, args: dict[str, Any], *, admin: bool = False) -> Any:
        body = json.dumps({"path": path, "args": args, "format": "convex_encoded_json"}).encode()
        answer = self.post(f"/api/{kind}", body, admin=admin)
        assert answer["status"] == "success", answer
        return answer["value"]


class Watch:
    """Clients' latencies and the memory of the server and its children, from one `phase` to the next."""

    def __init__(self, port: int, pid: int) -> None:
        self.port, self.pid = port, pid
        self.latencies: list[float] = []
        self.memory: list[tuple[float, float]] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._client, args=(n,)) for n in range(CLIENTS)]
        self._threads.append(threading.Thread(target=self._look))
        for thread in self._threads:
            thread.start()

    def _client(self, number: int) -> None:
        caller = Caller(self.port)
        while not self._end.wait(PAUSE_S * random.uniform(0.5, 1.5)):
            began = time.perf_counter()
            caller.call("mutation", "counts:add", {"name": f"n{number}"})
            self.latencies.append(time.perf_counter() - began)

    def _look(self) -> None:
        while not self._end.wait(0.2):
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            self.memory.append((resident(self.pid), sum(map(resident, map(int, children)))))

    def phase(self) -> tuple[list[float], float, float]:
        latencies, self.latencies = sorted(self.latencies), []
        memory, self.memory = self.memory, []
        return latencies, max((own for own, _ in memory), default=0), max((more for _, more in memory), default=0)

    def stop(self) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()


def resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def run_import(caller: Caller, lines: Path, mode: str) -> tuple[float, float, float]:
    """Seconds for the upload, for reading and checking, and from the confirmation to the end."""
    began = time.perf_counter()
    token = caller.post("/api/import/start_upload", b"", admin=True)["uploadToken"]
    parts = []
    with lines.open("rb") as file:
        while part := file.read(PART):
            path = f"/api/import/upload_part?uploadToken={token}&partNumber={len(parts) + 1}"
            parts.append(caller.post(path, part, admin=True))
    asked = {"tableName": "events", "mode": mode, "format": "jsonLines"}
    body = json.dumps({"import": asked, "uploadToken": token, "partTokens": parts}).encode()
    import_id = caller.post("/api/import/finish_upload", body, admin=True)["importId"]
    uploaded = time.perf_counter()
    follow(caller, import_id, "waiting_for_confirmation")
    staged = time.perf_counter()
    caller.post("/api/perform_import", json.dumps({"importId": import_id}).encode(), admin=True)
    follow(caller, import_id, "completed")
    return uploaded - began, staged - uploaded, time.perf_counter() - staged


def follow(caller: Caller, import_id: str, wanted: str) -> None:
    while True:
        state = caller.call("query", "_system/cli/queryImport:default", {"importId": import_id}, admin=True)["state"]
        if state["state"] == wanted:
            return
        if state["state"] == "failed":
            sys.exit(state["error_message"])
        time.sleep(0.1)


def run_export(caller: Caller, archive: Path) -> tuple[float, float]:
    """Seconds until it is complete, and for the download."""
    began = time.perf_counter()
    caller.post("/api/export/request/zip", b"", admin=True)
    while (export := caller.call("query", "_system/cli/exports:getLatest", {}, admin=True))["state"] != "completed":
        assert export["state"] in ("requested", "in_progress"), export
        time.sleep(0.1)
    complete = time.perf_counter()
    headers = {"Authorization": f"Convex {ADMIN_KEY}"}
    caller.connection.request("GET", f"/api/export/zip/{export['_id']}", headers=headers)
    response = caller.connection.getresponse()
    with archive.open("wb") as out:
        while piece := response.read(1 << 20):
            out.write(piece)
    return complete - began, time.perf_counter() - complete


def shown(name: str, phase: tuple[list[float], float, float], base: list[float], idle: float) -> str:
    latencies, own, children = phase
    if not latencies:
        return f"  {name:22} no mutation in it"
    p50, p99 = (latencies[int(len(latencies) * q)] * 1000 for q in (0.5, 0.99))
    base99 = base[int(len(base) * 0.99)] * 1000
    return (
        f"  {name:22} mutations: p50 {p50:6.2f} ms, p99 {p99:7.2f} ms ({p99 / base99:4.1f} × alone), worst "
        f"{latencies[-1] * 1000:7.1f} ms | memory: server {own:4.0f} MiB (+{own - idle:3.0f}), its child {children:4.0f} MiB"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=100_000)
    count = parser.parse_args().documents
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        lines, more = work / "events.jsonl", work / "more.jsonl"
        make_lines(lines, count, 1)
        make_lines(more, count // 10, 2)
        mib = lines.stat().st_size / 1024**2
        in_s = with_sqlite3(lines, work / "plain.sqlite3")
        out_s = out_of_sqlite3(work / "plain.sqlite3", work / "plain.zip")
        print(
            f"{count} documents, {mib:.0f} MiB of JSON; json and sqlite3: {count / in_s:,.0f}/s in, {count / out_s:,.0f}/s out"
        )
        port = free_port()
        command = (sys.executable, "-m", "reactor.cli", "serve", str(HERE / "apps" / "archive"), "--no-supervise")
        options = (f"--port={port}", "--site-port=0", f"--data={work / 'data'}", f"--admin-key={ADMIN_KEY}")
        with process(*command, *options, port=port) as server:
            caller = Caller(port)
            watch = Watch(port, server.pid)
            try:
                time.sleep(8)
                base, idle, _ = alone = watch.phase()
                print(shown("nothing else", alone, base, idle))
                upload, stage, load = run_import(caller, lines, "replace")
                print(shown("import", watch.phase(), base, idle))
                rate = count / (stage + load)
                print(
                    f"  import: {rate:,.0f} documents/s ({rate * in_s / count:.2f} × json and sqlite3); upload {upload:.1f} s, "
                    f"reading {stage:.1f} s, loading {load:.1f} s"
                )
                _, stage, load = run_import(caller, more, "append")
                print(shown("append of a tenth", watch.phase(), base, idle))
                print(
                    f"  append: {count // 10 / (stage + load):,.0f} documents/s; reading {stage:.1f} s, loading {load:.1f} s"
                )
                assert caller.call("query", "counts:events", {}) == count + count // 10
                watch.phase()
                export, download = run_export(caller, work / "snapshot.zip")
                print(shown("export", watch.phase(), base, idle))
                rate = (count + count // 10) / export
                print(
                    f"  export: {rate:,.0f} documents/s ({rate * out_s / count:.2f} × sqlite3 and json); download {download:.1f} s"
                )
            finally:
                watch.stop()
        with zipfile.ZipFile(work / "snapshot.zip") as archive:
            found = sum(1 for _ in archive.open("events/documents.jsonl"))
        assert found == count + count // 10, found
        print(f"  wanted: p99 at most 2 × alone, server below {WANTED_MIB} MiB")


if __name__ == "__main__":
    os.nice(5)
    main()
