"""A server whose users sign in with issuers of ours, on a clock that stands still until a test moves it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from reactor.clock import ManualClock
from reactor.testing import TestIssuer
from tests.support.server import ADMIN_KEY, ReactorProcess, running_server

IDENTITY_APP = Path(__file__).parents[1] / "apps" / "identity"


class SignIn:
    """The server and its issuers: `oidc` is an OpenID Connect provider, `custom` is none, `down` never answers."""

    def __init__(
        self, server: ReactorProcess, clock: ManualClock, oidc: TestIssuer, custom: TestIssuer, down: TestIssuer
    ):
        self.server, self.clock = server, clock
        self.oidc, self.custom, self.down = oidc, custom, down

    def now_s(self) -> int:
        return self.clock.now_ns() // 1_000_000_000

    def advance(self, seconds: float) -> None:
        """Move the time of the server and of the issuers."""
        answer = httpx.post(
            f"{self.server.url}/api/testing/advance_clock",
            json={"advance_ms": seconds * 1000},
            headers={"Authorization": f"Convex {ADMIN_KEY}"},
        )
        answer.raise_for_status()
        self.clock.advance(round(seconds * 1e9))

    def token_for(self, seconds: float, subject: str = "ann", **claims: Any) -> str:
        """A token that ends in so many seconds. It claims to be old, so that clients don't renew it before it ends."""
        now = self.now_s()
        return self.oidc.token(subject, iat=now - 3600, exp=now + seconds, **claims)


@contextlib.contextmanager
def sign_in_server(work: Path, **options: Any) -> Iterator[SignIn]:
    clock = ManualClock()
    down = TestIssuer(algorithm="EdDSA", clock=clock, port=1)
    with TestIssuer(clock=clock) as oidc, TestIssuer(algorithm="ES256", clock=clock) as custom:
        env = {"OIDC_ISSUER": oidc.url, "CUSTOM_ISSUER": custom.url, "DOWN_ISSUER": down.url}
        with running_server(work, app=IDENTITY_APP, options=("--manual-clock",), env=env, **options) as server:
            yield SignIn(server, clock, oidc, custom, down)
