"""client-protocol 34 and 35: who is asking, by what they send. The whole way over HTTP is in tests/unit/http."""

from __future__ import annotations

import base64
import json

import pytest

from reactor.auth.admin_key import AdminKeys, strip_key_type
from reactor.auth.authenticator import AuthenticationError
from reactor.auth.headers import Gatekeeper
from reactor.auth.identity import ADMIN, ANONYMOUS, Caller, acting_as


@pytest.mark.parametrize(
    ("given", "bare"),
    [
        ("name|secret", "name|secret"),
        ("prod:name|secret", "name|secret"),
        ("dev:name|secret", "name|secret"),
        ("preview:team:project|secret", "secret"),
        ("project:team:project|secret", "secret"),
        ("plain", "plain"),
        ("plain:e30=", "plain:e30="),
        ("name|secret:e30=", "name|secret:e30="),
    ],
)
def test_a_key_s_type_is_dropped(given: str, bare: str) -> None:
    assert strip_key_type(given) == bare


@pytest.mark.parametrize("key", ["a|b", "prod:a|b", "0135d8598650f8f5", "with:colons:only", "ünïcode", "|"])
def test_any_string_can_be_a_key(key: str) -> None:
    keys = AdminKeys(["other", key])
    assert keys.accepts(key)
    assert keys.accepts("other")
    assert not keys.accepts(key + "x")
    assert not keys.accepts(key[:-1])
    assert not keys.accepts("")


def test_without_keys_nothing_opens() -> None:
    for keys in (AdminKeys(), AdminKeys([""])):
        assert not keys.accepts("")
        assert not keys.accepts("x")


def test_keys_are_not_kept_in_the_open() -> None:
    keys = AdminKeys(["name|secret"])
    assert "secret" not in repr(vars(keys))


USER = {"subject": "u", "issuer": "https://i"}
ENCODED = base64.b64encode(json.dumps(USER).encode()).decode()


@pytest.mark.parametrize("key", ["a|b", "0135d8598650f8f5", "with:colons"])
@pytest.mark.parametrize("encoded", [ENCODED, ENCODED.rstrip("=")])
def test_any_key_can_act_as_a_user(key: str, encoded: str) -> None:
    gatekeeper = Gatekeeper(AdminKeys([key]))
    assert gatekeeper.admin(key) == ADMIN
    caller = gatekeeper.admin(f"{key}:{encoded}")
    assert caller == gatekeeper.admin(key, USER) == acting_as(USER)
    assert caller.is_admin
    assert caller.user is not None
    assert caller.user.token_identifier == "https://i|u"


@pytest.mark.parametrize("key", ["a|c", "a", "", "a|b "])
async def test_acting_as_a_user_needs_the_key_as_well(key: str) -> None:
    gatekeeper = Gatekeeper(AdminKeys(["a|b"]))
    for credential in (f"{key}:{ENCODED}", key):
        with pytest.raises(AuthenticationError) as refused:
            gatekeeper.admin(credential)
        assert (refused.value.status, refused.value.code) == (403, "BadDeployKey")
    with pytest.raises(AuthenticationError) as refused:
        gatekeeper.admin(key, USER)
    assert refused.value.code == "BadDeployKey"


class Accepting:
    async def authenticate(self, token: str) -> Caller:
        if token != "good":
            raise AuthenticationError("Could not validate token", code="InvalidAuthHeader")
        return acting_as(USER)


@pytest.mark.parametrize("header", ["Bearer good", "bearer good", "BEARER  good "])
async def test_a_verifier_can_be_plugged_in(header: str) -> None:
    gatekeeper = Gatekeeper(AdminKeys(), Accepting())
    assert (await gatekeeper.from_header(header)).user is not None
    with pytest.raises(AuthenticationError) as refused:
        await gatekeeper.from_header("Bearer bad")
    assert (refused.value.status, refused.value.code) == (401, "InvalidAuthHeader")


async def test_no_header_is_nobody() -> None:
    assert await Gatekeeper(AdminKeys()).from_header(None) == ANONYMOUS
