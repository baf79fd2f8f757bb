"""A mail service that keeps what it is given."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class MailService:
    """Runs while it is entered: `with MailService() as service:`."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.keys: list[str] = []
        self.status = 202
        """What requests are answered with."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.mails.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                service.keys.append(self.headers["Idempotency-Key"])
                self.send_response(service.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> MailService:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
