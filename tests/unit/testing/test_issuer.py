"""`TestIssuer` and the fixture `issuer`, as projects use them."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import jwt
import pytest

from reactor.auth.providers import JwtProvider, OidcProvider
from reactor.testing import ManualClock, TestIssuer
from tests.unit.testing.test_plugin import run_pytest


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_any_library_verifies_its_tokens(algorithm: str) -> None:
    with TestIssuer(algorithm=algorithm, application_id="my-app") as issuer:  # type: ignore[arg-type]
        token = issuer.token("ann", email="ann@example.com")
        discovery = json.load(urllib.request.urlopen(f"{issuer.url}/.well-known/openid-configuration"))
        key = jwt.PyJWKClient(discovery["jwks_uri"]).get_signing_key_from_jwt(token)
        claims = jwt.decode(token, key, algorithms=[algorithm], audience="my-app", issuer=discovery["issuer"])
    assert (claims["sub"], claims["email"], claims["exp"] - claims["iat"]) == ("ann", "ann@example.com", 3600)


def test_it_says_how_an_app_accepts_it() -> None:
    with TestIssuer() as issuer, TestIssuer(algorithm="ES256") as custom:
        assert issuer.provider == OidcProvider(domain=issuer.url, application_id="test-app")
        assert custom.provider == JwtProvider(
            issuer=custom.url, jwks=custom.jwks_url, algorithm="ES256", application_id="test-app"
        )


def test_claims_are_added_replaced_and_taken_away() -> None:
    with TestIssuer(algorithm="EdDSA", clock=ManualClock(5_000_000_000)) as issuer:
        claims = jwt.decode(issuer.token("ann", aud=None, exp=7, role="x"), options={"verify_signature": False})
    assert claims == {"iss": issuer.url, "sub": "ann", "iat": 5, "exp": 7, "role": "x"}


def test_it_can_be_stopped_and_started_with_the_same_address_and_keys() -> None:
    issuer = TestIssuer(algorithm="EdDSA").start()
    address, keys = issuer.url, issuer.jwks
    issuer.stop()
    issuer.stop()
    with issuer:
        assert (issuer.url, issuer.jwks) == (address, keys)
        assert json.load(urllib.request.urlopen(issuer.jwks_url)) == keys


TESTS = """
import pytest

from datetime import timedelta
from functions import things
from reactor import AuthenticationError


async def test_tokens(backend, issuer):
    ann = await backend.with_token(issuer.token("ann", given_name="Ann"))
    assert await ann.query(things.name) == "Ann"
    assert await backend.query(things.name) is None


async def test_the_issuer_alone_is_enough(issuer):
    assert issuer.token("ann")


async def test_time_is_the_backend_s(backend, issuer):
    token = issuer.token("ann")
    await backend.advance(timedelta(hours=2))
    with pytest.raises(AuthenticationError, match="Expired"):
        await backend.with_token(token)
    await backend.with_token(issuer.token("ann"))
"""


def test_projects_have_the_fixture(tmp_path: Path) -> None:
    functions = tmp_path / "functions"
    functions.mkdir()
    (functions / "__init__.py").write_text("")
    (functions / "things.py").write_text(
        "from reactor import QueryCtx, query\n\n\n@query\nasync def name(ctx: QueryCtx) -> str | None:\n"
        "    identity = await ctx.auth.get_user_identity()\n    return None if identity is None else identity.given_name\n"
    )
    printed = _run(tmp_path)
    assert "3 passed" in printed, printed


def _run(project: Path) -> str:
    (project / "pyproject.toml").write_text(
        '[tool.reactor]\n[tool.pytest.ini_options]\nasyncio_default_fixture_loop_scope = "function"\n'
    )
    (project / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "test_it.py"]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120).stdout


def test_without_pytest_asyncio_the_fixture_says_what_is_missing(tmp_path: Path) -> None:
    printed = run_pytest(tmp_path, "def test_it(issuer): ...\n", without_asyncio=True)
    assert "pip install pytest-asyncio" in printed


def test_one_started_anew_does_not_call_its_keys_what_the_last_one_did() -> None:
    """Else a server that keeps the old keys would refuse the new tokens until it fetches keys again."""
    with TestIssuer() as one, TestIssuer() as another:
        assert {key["kid"] for key in one.jwks["keys"]}.isdisjoint(key["kid"] for key in another.jwks["keys"])
