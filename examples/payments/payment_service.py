"""A stand-in for a payment service: takes any amount but 666 cents, and charges once per idempotency key.

`python payment_service.py` runs it on port 4000; tests start one of their own.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DECLINED_AMOUNT = 666


class PaymentService:
    """Runs while it is entered: `with PaymentService() as service:`."""

    def __init__(self, port: int = 0) -> None:
        self.charges: dict[str, int] = {}
        """What was charged: idempotency key → cents."""
        self.broken = False
        """Whether it charges and then fails to say so."""
        self._lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                amount = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["amount"]
                status, body = service.charge(self.headers["Idempotency-Key"], amount)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def charge(self, key: str, amount: int) -> tuple[int, dict[str, str]]:
        """Status and body of the answer."""
        if amount == DECLINED_AMOUNT:
            return 402, {"error": "declined"}
        with self._lock:
            self.charges.setdefault(key, amount)
        return (500, {"error": "broken"}) if self.broken else (200, {"id": f"pay_{key}"})

    def __enter__(self) -> PaymentService:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


if __name__ == "__main__":
    with PaymentService(4000) as running:
        print(f"Taking payments at {running.url}; Enter ends it")
        input()
