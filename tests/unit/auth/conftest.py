"""Issuers of every algorithm, and verifiers that accept them by a clock that stands still."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from reactor.auth.keys import KeyStore
from reactor.auth.providers import Provider
from reactor.auth.tokens import TokenVerifier
from reactor.clock import ManualClock
from reactor.testing import TestIssuer

Verify = Callable[..., TokenVerifier]


@pytest.fixture(scope="session")
def issuers() -> Iterator[dict[str, TestIssuer]]:
    """By algorithm. Each is a different issuer with keys of its own."""
    running = {name: TestIssuer(algorithm=name, clock=ManualClock()).start() for name in ("RS256", "ES256", "EdDSA")}  # type: ignore[arg-type]
    yield running
    for issuer in running.values():
        issuer.stop()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def verifier(clock: ManualClock) -> Verify:
    """Makes verifiers for some providers; in full words unless told to redact."""

    def make(*providers: Provider, redact: bool = False, **options: object) -> TokenVerifier:
        return TokenVerifier(providers, KeyStore(loopback_http=True), clock, redact=redact, **options)  # type: ignore[arg-type]

    return make
