"""(h) A large file up and down through HTTP: how fast, and the server's peak memory, which must not depend on the size.

Beside: several downloads at once, and clients that stop reading (or sending) in the middle.

    python benchmarks/files.py [--gib 2]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from load import HERE, free_port, process

MIB = 1024 * 1024
PIECE = os.urandom(MIB)
WANTED_MIB = 200


def call(port: int, kind: str, path: str, **args: object) -> str:
    body = json.dumps({"path": path, "args": args, "format": "json"}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/{kind}", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        answer = json.load(response)
    assert answer["status"] == "success", answer
    return answer["value"]


def peak_mib(pid: int) -> float:
    """The most memory that the process has ever had."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def begin(url: str, head: str) -> socket.socket:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "", parts.port or 80))
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    connection.sendall(head.format(target=target, host=parts.netloc).encode())
    return connection


def upload(url: str, mib: int) -> str:
    head = f"POST {{target}} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: {mib * MIB}\r\nConnection: close\r\n\r\n"
    with begin(url, head) as connection:
        for _ in range(mib):
            connection.sendall(PIECE)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    return json.loads(answer.partition(b"\r\n\r\n")[2])["storageId"]


def download(url: str, *, check: bool = False) -> tuple[int, str]:
    """Bytes, and their digest if asked for."""
    with begin(url, "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n") as connection:
        buffer, digest, size = bytearray(MIB), hashlib.sha256(), 0
        while b"\r\n\r\n" not in (head := connection.recv(65536, socket.MSG_PEEK)):
            pass
        connection.recv(head.index(b"\r\n\r\n") + 4)
        while count := connection.recv_into(buffer):
            size += count
            if check:
                digest.update(memoryview(buffer)[:count])
    return size, digest.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=2)
    mib = round(parser.parse_args().gib * 1024)
    with tempfile.TemporaryDirectory() as data:
        port = free_port()
        app = HERE / "apps" / "files"
        command = [sys.executable, "-m", "reactor.cli", "serve", str(app), f"--port={port}", "--site-port=0"]
        with process(*command, f"--data={data}", "--no-supervise", port=port) as server:
            print(f"server started                        peak {peak_mib(server.pid):6.0f} MiB")

            began = time.perf_counter()
            id = upload(call(port, "mutation", "files:generateUploadUrl"), mib)
            row(f"upload of {mib} MiB", mib, began, server.pid)

            url = call(port, "query", "files:url", id=id)
            began = time.perf_counter()
            size, _ = download(url)
            assert size == mib * MIB
            row(f"download of {mib} MiB", mib, began, server.pid)

            began = time.perf_counter()
            threads = [threading.Thread(target=download, args=(url,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            row(f"8 downloads of {mib} MiB at once", 8 * mib, began, server.pid)

            ask = "GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
            stalled = [begin(url, ask) for _ in range(50)]
            place = call(port, "mutation", "files:generateUploadUrl")
            for _ in range(50):
                half = begin(
                    place, f"POST {{target}} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: {mib * MIB}\r\n\r\n"
                )
                half.sendall(PIECE)
                stalled.append(half)
            time.sleep(2)
            print(f"50 stalled downloads, 50 uploads      peak {peak_mib(server.pid):6.0f} MiB")
            for connection in stalled:
                connection.close()

            _, digest = download(url, check=True)
            assert digest == expected(mib)
            peak = peak_mib(server.pid)
            verdict = "within" if peak < WANTED_MIB else "NOT within"
            print(f"peak memory of the server             {peak:.0f} MiB: {verdict} {WANTED_MIB} MiB")
            if peak >= WANTED_MIB:
                sys.exit(1)


def expected(mib: int) -> str:
    digest = hashlib.sha256()
    for _ in range(mib):
        digest.update(PIECE)
    return digest.hexdigest()


def row(what: str, mib: int, began: float, pid: int) -> None:
    took = time.perf_counter() - began
    print(f"{what:36}  peak {peak_mib(pid):6.0f} MiB  {took:6.1f} s  {mib / took:6.0f} MiB/s", flush=True)


if __name__ == "__main__":
    main()
