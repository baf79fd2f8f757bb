"""Keys of providers: what counts as one, how rarely they are fetched, and what a hostile or broken key server can do."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from reactor.auth import fetch as fetching
from reactor.auth.fetch import FetchFailed, fetch_document
from reactor.auth.keys import (
    FRESH_S,
    KEPT_S,
    MAX_KEYS,
    RETRY_S,
    STALE_S,
    UNKNOWN_BURST,
    UNKNOWN_EVERY_S,
    KeySet,
    KeyStore,
    KeysUnavailable,
    RemoteKeys,
    parse_keys,
)
from reactor.auth.providers import JwtProvider, OidcProvider
from reactor.errors import SchemaError
from reactor.testing import TestIssuer


@pytest.fixture
def jwk(issuers: dict[str, TestIssuer]) -> Callable[[str], dict[str, Any]]:
    return lambda algorithm: dict(issuers[algorithm].jwks["keys"][0])


def key_set(*keys: Any) -> KeySet:
    return parse_keys(json.dumps({"keys": keys}).encode())


# ------------------------------------------------------------------------------------------------------------ parsing


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
def test_a_key_is_found_by_its_id_and_algorithm_only(jwk: Any, algorithm: str) -> None:
    keys = key_set({**jwk(algorithm), "kid": "a"})
    assert keys.find("a", algorithm) is not None
    assert keys.find("b", algorithm) is None
    assert keys.has(algorithm)
    for other in {"RS256", "ES256", "EdDSA", "HS256", "none", "PS256"} - {algorithm}:
        assert keys.find("a", other) is None


def test_without_an_id_the_only_key_for_the_algorithm_is_meant(jwk: Any) -> None:
    one, other = {**jwk("RS256"), "kid": "a"}, {**jwk("ES256"), "kid": "b"}
    assert key_set(one, other).find(None, "RS256") is not None
    assert key_set(one, {**one, "kid": "c"}).find(None, "RS256") is None


@pytest.mark.parametrize(
    "change",
    [
        {"use": "enc"},
        {"alg": "RS512"},
        {"alg": "HS256"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": ["RSA"]},
        {"n": 5},
        {"n": "!!"},
        {"n": None},
    ],
)
def test_keys_of_other_uses_and_broken_ones_are_left_out(jwk: Any, change: dict[str, Any]) -> None:
    good = {**jwk("EdDSA"), "kid": "good"}
    keys = key_set({**jwk("RS256"), "kid": "bad", **change}, "not a key", None, good)
    assert keys.find("bad", "RS256") is None
    assert keys.find("good", "EdDSA") is not None


def test_other_curves_are_left_out() -> None:
    p384 = {"kty": "EC", "crv": "P-384", "kid": "k", "x": "A" * 64, "y": "A" * 64}
    assert key_set(p384, {"kty": "OKP", "crv": "Ed448", "kid": "k", "x": "A" * 76}).find("k", "ES256") is None


def test_weak_rsa_keys_are_left_out() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    keys = key_set({**RSAAlgorithm.to_jwk(weak.public_key(), as_dict=True), "kid": "weak"})
    assert keys.find("weak", "RS256") is None


def test_of_a_private_key_only_the_public_part_is_kept() -> None:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    found = key_set({**RSAAlgorithm.to_jwk(private, as_dict=True), "kid": "k", "key_ops": ["verify"]}).find(
        "k", "RS256"
    )
    assert found is not None
    assert isinstance(found.key, rsa.RSAPublicKey)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b'{"keys":{}}',
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"keys":[%b]}' % b",".join([b"{}"] * (MAX_KEYS + 1)),
    ],
)
def test_what_is_no_key_set_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"not JSON|not a key set|more than"):
        parse_keys(raw)


# ------------------------------------------------------------------------------------------------------------ fetching


class Source:
    """A key server that can fail, be slow, and counts; and a clock."""

    def __init__(self, keys: KeySet) -> None:
        self.keys = keys
        self.now = 1000.0
        self.loads = 0
        self.failure: KeysUnavailable | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.remote = RemoteKeys(self._load, elapsed=lambda: self.now)

    async def _load(self) -> KeySet:
        self.loads += 1
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self.keys

    async def find(self, kid: str = "a") -> Any:
        return await self.remote.find(kid, "EdDSA")

    async def settle(self) -> None:
        """Let a fetch in the background end."""
        while self.remote._fetching is not None:
            await asyncio.sleep(0)


@pytest.fixture
def source(jwk: Any) -> Source:
    return Source(key_set({**jwk("EdDSA"), "kid": "a"}))


async def test_keys_are_fetched_once(source: Source) -> None:
    for _ in range(100):
        assert await source.find()
    assert source.loads == 1


async def test_those_who_come_meanwhile_wait_for_the_same_fetch(source: Source) -> None:
    source.gate.clear()
    waiting = [asyncio.create_task(source.find()) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting[0].cancel()  # one that goes away does not take the fetch along
    source.gate.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert all(found[1:])
    assert source.loads == 1


async def test_a_new_key_is_found_by_fetching_again(source: Source, jwk: Any) -> None:
    await source.find()
    source.keys = key_set({**jwk("EdDSA"), "kid": "b"})
    assert await source.find("b")
    assert await source.find("a") is None, "a key that the provider took back"
    assert source.loads <= 3


async def test_a_flood_of_unknown_keys_causes_a_few_fetches(source: Source) -> None:
    for number in range(1000):
        assert await source.find(f"unknown {number}") is None
    assert source.loads == 1 + UNKNOWN_BURST
    source.now += 3 * UNKNOWN_EVERY_S
    for number in range(1000):
        await source.find(f"unknown {number}")
    assert source.loads == 1 + UNKNOWN_BURST + 3
    assert await source.find("a"), "users with good tokens notice nothing"


async def test_a_flood_that_comes_at_once_shares_its_fetches(source: Source) -> None:
    await source.find()
    source.gate.clear()
    flood = [asyncio.create_task(source.find(f"unknown {number}")) for number in range(200)]
    await asyncio.sleep(0)
    good = await asyncio.wait_for(source.find("a"), 5)
    assert good, "known keys do not wait for the fetch"
    source.gate.set()
    assert await asyncio.gather(*flood) == [None] * 200
    assert source.loads <= 1 + UNKNOWN_BURST


async def test_old_keys_are_renewed_beside_the_tokens_they_verify(source: Source, jwk: Any) -> None:
    await source.find()
    source.now += FRESH_S
    source.keys = key_set({**jwk("EdDSA"), "kid": "new"})
    source.gate.clear()
    assert await source.find("a"), "nobody waits"
    source.gate.set()
    await source.settle()
    assert source.loads == 2
    assert await source.find("a") is None


async def test_stale_keys_verify_nothing_before_they_are_renewed(source: Source, jwk: Any) -> None:
    await source.find()
    source.now += STALE_S
    source.keys = key_set({**jwk("EdDSA"), "kid": "new"})
    assert await source.find("a") is None


async def test_a_provider_that_is_down_does_not_lock_out_users_for_a_day(source: Source) -> None:
    await source.find()
    source.failure = KeysUnavailable("down", is_temporary=True)
    source.now += KEPT_S - 1
    assert await source.find("a")
    source.now += 2
    with pytest.raises(KeysUnavailable, match="down"):
        await source.find("a")


async def test_a_provider_that_is_down_is_asked_now_and_then(source: Source) -> None:
    source.failure = KeysUnavailable("down", is_temporary=True)
    for _ in range(100):
        with pytest.raises(KeysUnavailable, match="down"):
            await source.find()
    assert source.loads == 1
    source.now += RETRY_S
    source.failure = None
    assert await source.find()


async def test_while_fetches_fail_an_unknown_key_is_unavailable_and_not_refused_however_often_it_is_asked_for(
    source: Source, jwk: Any
) -> None:
    await source.find()
    source.failure = KeysUnavailable("down", is_temporary=True)
    for _ in range(3 * UNKNOWN_BURST):
        with pytest.raises(KeysUnavailable, match="down"):
            await source.find("new")
        source.now += RETRY_S
    source.failure = None
    source.keys = key_set({**jwk("EdDSA"), "kid": "new"})
    source.now += UNKNOWN_EVERY_S
    assert await source.find("new")


async def test_closing_ends_a_fetch_that_hangs(source: Source) -> None:
    source.gate.clear()
    waiting = asyncio.create_task(source.find())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ending = source.remote.cancel()
    assert ending is not None
    with pytest.raises(KeysUnavailable, match="given up"):
        await waiting


# ---------------------------------------------------------------------------------------------------- over the network


class Server:
    """A key server that sends whatever a test says: `answer`, then `endless` again and again, or nothing while `hangs`."""

    def __init__(self) -> None:
        self.url = ""
        self.answer = b""
        self.endless = b""
        self.hangs = False
        self.done = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            writer.write(self.answer)
            while self.endless:
                writer.write(self.endless)
                await writer.drain()
            if self.hangs:
                await self.done.wait()
        except ConnectionError:
            pass
        finally:
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/jwks"
    yield made
    made.done.set()
    made.endless = b""
    listening.close()
    await listening.wait_closed()


def http(body: bytes = b"{}", status: str = "200 OK", kind: str = "application/json", extra: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


@pytest.mark.parametrize("kind", ["application/json", "application/jwk-set+json", "application/json; charset=utf-8"])
async def test_a_document_is_fetched(server: Server, kind: str) -> None:
    server.answer = http(b'{"a":1}', kind=kind)
    assert await fetch_document(server.url) == b'{"a":1}'


@pytest.mark.parametrize(
    ("answer", "text", "temporary"),
    [
        (http(status="404 Not Found"), "answered 404", False),
        (http(status="503 Unavailable"), "answered 503", True),
        (http(status="429 Slow"), "answered 429", True),
        (http(kind="text/html"), "content type 'text/html'", False),
        (http(status="302 Found", extra="Location: http://169.254.169.254/\r\n"), "redirects are not followed", False),
        (http(extra="Content-Encoding: gzip\r\n"), "compressed", False),
        (b"nonsense\r\n\r\n", "could not be fetched", True),
        (b"", "could not be fetched", True),
    ],
)
async def test_what_is_no_good_answer_is_refused(server: Server, answer: bytes, text: str, temporary: bool) -> None:
    server.answer = answer
    with pytest.raises(FetchFailed) as failed:
        await fetch_document(server.url)
    assert text in str(failed.value)
    assert failed.value.is_temporary is temporary


async def test_a_huge_document_is_given_up(server: Server) -> None:
    """An endless answer costs the bytes of the limit."""
    server.answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    server.endless = b" " * 65536
    with pytest.raises(FetchFailed, match="larger than 200000 bytes") as failed:
        await fetch_document(server.url, max_bytes=200_000)
    assert not failed.value.is_temporary


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"]
)
async def test_a_server_that_hangs_is_given_up(server: Server, answer: bytes) -> None:
    server.answer, server.hangs = answer, True
    with pytest.raises(FetchFailed, match=r"did not answer within 0\.05 s") as failed:
        await fetch_document(server.url, timeout_s=0.05)
    assert failed.value.is_temporary


async def test_nobody_listening_is_a_temporary_failure(server: Server) -> None:
    with pytest.raises(FetchFailed) as failed:
        await fetch_document("http://127.0.0.1:1/jwks")
    assert failed.value.is_temporary


def test_the_default_limits_are_those_promised() -> None:
    assert fetch_document.__kwdefaults__["timeout_s"] == 10
    assert fetching.DOCUMENT_MAX_BYTES == 1024 * 1024


# ------------------------------------------------------------------------------------------------------------- discovery


class Web:
    """Documents by URL."""

    def __init__(self, documents: dict[str, Any]) -> None:
        self.documents = documents
        self.fetched: list[str] = []

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if url not in self.documents:
            raise FetchFailed(f"{url} answered 404", is_temporary=False)
        return json.dumps(self.documents[url]).encode()


OIDC = OidcProvider(domain="issuer.example/", application_id="app")
DISCOVERY = "https://issuer.example/.well-known/openid-configuration"


async def test_keys_of_oidc_are_found_through_discovery(jwk: Any) -> None:
    """server-semantics 44"""
    web = Web(
        {
            DISCOVERY: {"issuer": "https://issuer.example/", "jwks_uri": "https://keys.example/set", "other": 1},
            "https://keys.example/set": {"keys": [{**jwk("EdDSA"), "kid": "a"}]},
        }
    )
    store = KeyStore(fetch=web.fetch)
    assert await store.source(OIDC).find("a", "EdDSA")
    assert web.fetched == [DISCOVERY, "https://keys.example/set"]
    await store.close()


@pytest.mark.parametrize(
    ("documents", "text"),
    [
        ({}, "answered 404"),
        ({DISCOVERY: []}, "not a discovery document"),
        ({DISCOVERY: {"issuer": "https://issuer.example"}}, "not a discovery document"),
        (
            {DISCOVERY: {"issuer": "https://evil.example", "jwks_uri": "https://k.example"}},
            "is of the issuer 'https://evil",
        ),
        ({DISCOVERY: {"issuer": "https://issuer.example", "jwks_uri": "http://k.example"}}, "plain http"),
        ({DISCOVERY: {"issuer": "https://issuer.example", "jwks_uri": "http://127.0.0.1/k"}}, "in development only"),
        ({DISCOVERY: {"issuer": "https://issuer.example", "jwks_uri": "file:///etc/passwd"}}, "expected an https"),
        (
            {
                DISCOVERY: {"issuer": "https://issuer.example", "jwks_uri": "https://k.example"},
                "https://k.example": {"keys": 1},
            },
            "https://k.example is not a key set",
        ),
    ],
)
async def test_a_discovery_that_leads_nowhere_is_told(documents: dict[str, Any], text: str) -> None:
    store = KeyStore(fetch=Web(documents).fetch)
    with pytest.raises(KeysUnavailable) as failed:
        await store.source(OIDC).find("a", "RS256")
    assert text in str(failed.value)
    assert not failed.value.is_temporary
    await store.close()


async def test_the_keys_of_a_provider_that_stays_are_kept(jwk: Any) -> None:
    web = Web({"https://k.example": {"keys": [{**jwk("EdDSA"), "kid": "a"}]}})
    store = KeyStore(fetch=web.fetch)
    stays, goes = (
        JwtProvider(issuer=name, jwks="https://k.example", algorithm="EdDSA") for name in ("https://a", "https://b")
    )
    for provider in (stays, goes):
        assert await store.source(provider).find("a", "EdDSA")
    store.keep([JwtProvider(issuer="https://a", jwks="https://k.example", algorithm="EdDSA")])
    for provider in (stays, goes):
        assert await store.source(provider).find("a", "EdDSA")
    assert len(web.fetched) == 3
    await store.close()


@pytest.mark.parametrize("form", ["object", "plain", "base64"])
async def test_keys_can_be_part_of_the_configuration(jwk: Any, form: str) -> None:
    """client-protocol 36"""
    keys = {"keys": [{**jwk("ES256"), "kid": "a"}]}
    encoded = base64.b64encode(json.dumps(keys).encode()).decode()
    forms = {
        "object": keys,
        "plain": "data:application/json," + json.dumps(keys),
        "base64": "data:text/plain;charset=utf-8;base64," + encoded,
    }
    provider = JwtProvider(issuer="https://i", jwks=forms[form], algorithm="ES256")
    assert await KeyStore().source(provider).find("a", "ES256")


@pytest.mark.parametrize(
    ("jwks", "text"),
    [
        ("data:application/json,{", "not JSON"),
        ({"keys": []}, "no key for ES256 that could be used"),
        ({"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}, "no key for ES256 that could be used"),
        ("data:;base64,!", "base64 is broken"),
    ],
)
def test_a_bad_key_set_in_the_configuration_is_told_at_once(jwks: Any, text: str) -> None:
    with pytest.raises(SchemaError) as refused:
        KeyStore().source(JwtProvider(issuer="https://i", jwks=jwks, algorithm="ES256"))
    assert text in str(refused.value)
