"""A stand-in for a sandbox service: `python fake_sandbox.py`, or `with FakeSandbox() as fake:` in a test.

It answers "Done: <prompt>", and 500 to prompts that hold the word "fail".
"""

from __future__ import annotations

import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

API_KEY = "test"


class FakeSandbox:
    """Knows which sandboxes were `made`, and which of them are `open` still."""

    def __init__(self, port: int = 0) -> None:
        self.made: list[str] = []
        self.open: set[str] = set()
        self._numbers = itertools.count(1)
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self._answer(*fake.answer("POST", self.path, self.headers.get("X-API-Key"), body))

            def do_DELETE(self) -> None:
                self._answer(*fake.answer("DELETE", self.path, self.headers.get("X-API-Key")))

            def _answer(self, status: int, content: dict[str, Any]) -> None:
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, method: str, path: str, api_key: str | None, body: bytes = b"") -> tuple[int, dict[str, Any]]:
        """The service: status and content of the answer."""
        if api_key != API_KEY:
            return 401, {"error": "wrong API key"}
        match method, path.strip("/").split("/"):
            case "POST", ["sandboxes"]:
                id = f"sbx-{next(self._numbers)}"
                self.made.append(id)
                self.open.add(id)
                return 201, {"sandboxId": id}
            case "POST", ["sandboxes", id, "runs"] if id in self.open:
                prompt = json.loads(body)["prompt"]
                return (
                    (500, {"error": "the agent gave up"}) if "fail" in prompt else (200, {"output": f"Done: {prompt}"})
                )
            case "DELETE", ["sandboxes", id] if id in self.open:
                self.open.remove(id)
                return 200, {}
        return 404, {"error": "no such sandbox"}

    def __enter__(self) -> FakeSandbox:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    with FakeSandbox(8099) as fake:
        print(f"SANDBOX_URL={fake.url} SANDBOX_API_KEY={API_KEY}")
        threading.Event().wait()
