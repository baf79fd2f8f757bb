"""Public keys of identity providers: parsed, cached, fetched again when they grow old or a token names one that is not there.

However many tokens arrive, at most one fetch per provider is under way, and unknown keys cause only a few. A provider
that can't be reached does not lock out users while keys of the last day are at hand.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec
from jwt import InvalidTokenError, PyJWK
from jwt.exceptions import InvalidKeyError, PyJWKError

from reactor.auth.fetch import FetchFailed, fetch_document
from reactor.auth.providers import JwtProvider, OidcProvider, Provider, check_url, data_url_content, normal_issuer
from reactor.errors import SchemaError

__all__ = ["KeySet", "KeySource", "KeyStore", "KeysUnavailable", "parse_keys"]

logger = logging.getLogger("reactor.auth")

MAX_KEYS: Final = 100
RSA_MIN_BITS: Final = 2048

FRESH_S: Final = 600.0
"""Older keys are fetched again, beside the tokens they verify."""
STALE_S: Final = 3600.0
"""Older keys are fetched again before they verify anything."""
KEPT_S: Final = 24 * 3600.0
"""How long keys are used when the provider can't be reached."""
RETRY_S: Final = 2.0
"""Time between two fetches when the first failed."""
UNKNOWN_BURST: Final = 3
UNKNOWN_EVERY_S: Final = 10.0
"""Fetches for the sake of unknown keys: so many at once, then one in so many seconds."""

Fetch = Callable[..., Awaitable[bytes]]


class KeysUnavailable(Exception):
    """The keys of a provider can't be had. `is_temporary`: trying again later may help."""

    def __init__(self, reason: str, *, is_temporary: bool) -> None:
        super().__init__(reason)
        self.is_temporary = is_temporary


class KeySet:
    """The usable keys of one set."""

    def __init__(self, keys: Iterable[tuple[str | None, PyJWK]]) -> None:
        self._keys = tuple(keys)

    def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key of this id for this algorithm. Without an id: the only key for the algorithm, if there is one only."""
        fitting = [key for name, key in self._keys if key.algorithm_name == algorithm and (kid is None or name == kid)]
        return fitting[0] if fitting and (kid is not None or len(fitting) == 1) else None

    def has(self, algorithm: str) -> bool:
        """Whether tokens that name their key can be verified with this algorithm."""
        return any(name is not None and key.algorithm_name == algorithm for name, key in self._keys)


def parse_keys(raw: bytes) -> KeySet:
    """Read a JSON Web Key Set. Keys of other kinds than ours, and weak ones, are left out. Raises ValueError."""
    try:
        parsed = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    listed = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(listed, list):
        raise ValueError('not a key set, which is a JSON object like {"keys": […]}')
    if len(listed) > MAX_KEYS:
        raise ValueError(f"more than {MAX_KEYS} keys")
    found: list[tuple[str | None, PyJWK]] = []
    for jwk in listed:
        if isinstance(jwk, dict) and (key := _key(jwk)) is not None:
            kid = jwk.get("kid")
            found.append((kid if isinstance(kid, str) else None, key))
    return KeySet(found)


_KINDS: Final[dict[tuple[Any, Any], tuple[str, tuple[str, ...]]]] = {
    ("RSA", None): ("RS256", ("kty", "n", "e")),
    ("EC", "P-256"): ("ES256", ("kty", "crv", "x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("kty", "crv", "x")),
}
"""By type and curve: the one algorithm that a key is for, and its public members."""


def _key(jwk: dict[str, Any]) -> PyJWK | None:
    kty = jwk.get("kty")
    crv = jwk.get("crv") if kty != "RSA" else None
    kind = _KINDS.get((kty, crv)) if isinstance(kty, str) and isinstance(crv, str | None) else None
    if kind is None:
        return None
    algorithm, members = kind
    operations = jwk.get("key_ops")
    if (
        jwk.get("use", "sig") != "sig"
        or jwk.get("alg", algorithm) != algorithm
        or (operations is not None and not (isinstance(operations, list) and "verify" in operations))
    ):
        return None
    try:
        # Only the public part: a private key that stands there by mistake is not taken in.
        key = PyJWK({name: jwk[name] for name in members if name in jwk}, algorithm)
    except (InvalidKeyError, InvalidTokenError, PyJWKError, ValueError, TypeError, KeyError):
        return None
    if algorithm == "RS256" and key.key.key_size < RSA_MIN_BITS:
        return None
    return key


class KeySource(Protocol):
    """Where the keys of one provider are."""

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        """The key, or None when the provider has none such. Raises KeysUnavailable."""
        ...

    def cancel(self) -> asyncio.Future[Any] | None:
        """Fetch no more. Gives the fetch that is ending, if there is one."""
        ...


class InlineKeys:
    """Keys that are part of the configuration."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        return self._keys.find(kid, algorithm)

    def cancel(self) -> None:
        return


class RemoteKeys:
    """Keys that `load` fetches. `elapsed` is a clock of real time: it is the network that is spared."""

    def __init__(self, load: Callable[[], Awaitable[KeySet]], *, elapsed: Callable[[], float] = time.monotonic) -> None:
        self._load = load
        self._elapsed = elapsed
        self._keys: KeySet | None = None
        self._loaded_at = 0.0
        self._failure: KeysUnavailable | None = None
        self._failed_at = 0.0
        self._fetching: asyncio.Task[KeySet] | None = None
        self._unknown_left = float(UNKNOWN_BURST)
        self._unknown_counted_at = elapsed()

    async def find(self, kid: str | None, algorithm: str) -> PyJWK | None:
        keys = await self._current()
        key = keys.find(kid, algorithm)
        if key is not None:
            return key
        if self._fetching is None and not self._is_pausing() and not self._may_ask_for_unknown():
            if self._failure is not None:
                # The last fetch failed, so nobody knows whether the key is unknown or new: no reason to sign anybody out.
                raise KeysUnavailable(str(self._failure), is_temporary=self._failure.is_temporary)
            return None
        return (await self._fetch()).find(kid, algorithm)

    def cancel(self) -> asyncio.Task[KeySet] | None:
        if self._fetching is not None:
            self._fetching.cancel()
        return self._fetching

    async def _current(self) -> KeySet:
        keys = self._keys
        age = self._elapsed() - self._loaded_at
        if keys is not None and age < STALE_S:
            if age >= FRESH_S and not self._is_pausing():
                self._start()
            return keys
        try:
            return await self._fetch()
        except KeysUnavailable:
            if keys is None or age >= KEPT_S:
                raise
            return keys

    def _is_pausing(self) -> bool:
        return self._failure is not None and self._elapsed() - self._failed_at < RETRY_S

    async def _fetch(self) -> KeySet:
        """What the fetch under way gives, or a new one unless the last has just failed."""
        if self._fetching is None and self._failure is not None and self._is_pausing():
            raise KeysUnavailable(str(self._failure), is_temporary=self._failure.is_temporary)
        fetching = self._start()
        try:
            # Shielded: others wait for it too.
            return await asyncio.shield(fetching)
        except KeysUnavailable as error:
            raise KeysUnavailable(str(error), is_temporary=error.is_temporary) from None
        except asyncio.CancelledError:
            if fetching.cancelled():
                raise KeysUnavailable("the fetch was given up", is_temporary=True) from None
            raise

    def _start(self) -> asyncio.Task[KeySet]:
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._refresh(), name="fetch identity keys")
            self._fetching.add_done_callback(self._done)
        return self._fetching

    async def _refresh(self) -> KeySet:
        try:
            keys = await self._load()
        except KeysUnavailable as error:
            logger.warning("keys of an identity provider can't be had: %s", error)
            self._failure, self._failed_at = error, self._elapsed()
            raise
        self._keys, self._loaded_at, self._failure = keys, self._elapsed(), None
        return keys

    def _done(self, task: asyncio.Task[KeySet]) -> None:
        self._fetching = None
        if not task.cancelled():
            task.exception()  # seen, should nobody have waited

    def _may_ask_for_unknown(self) -> bool:
        """Whether an unknown key is worth a fetch. Anybody can name unknown keys, so only a few are."""
        now = self._elapsed()
        earned = (now - self._unknown_counted_at) / UNKNOWN_EVERY_S
        self._unknown_left = min(float(UNKNOWN_BURST), self._unknown_left + earned)
        self._unknown_counted_at = now
        if self._unknown_left < 1.0:
            return False
        self._unknown_left -= 1.0
        return True


class KeyStore:
    """The keys of all providers of a deployment. Outlives reloads, so that they need not be fetched again."""

    def __init__(
        self,
        *,
        loopback_http: bool = False,
        fetch: Fetch = fetch_document,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """`loopback_http`: key sets may be fetched by plain http from this machine."""
        self._loopback_http = loopback_http
        self._fetch = fetch
        self._elapsed = elapsed
        self._sources: dict[Provider, KeySource] = {}

    def source(self, provider: Provider) -> KeySource:
        """Where the keys of `provider` are. Nothing is fetched yet. Raises SchemaError when they can't be had from there."""
        found = self._sources.get(provider)
        if found is None:
            found = self._sources[provider] = self._make(provider)
        return found

    def keep(self, providers: Iterable[Provider]) -> list[asyncio.Future[Any]]:
        """Forget the keys of all other providers. Gives the fetches that are ending."""
        kept = set(providers)
        ending = [self._sources.pop(provider).cancel() for provider in list(self._sources) if provider not in kept]
        return [fetch for fetch in ending if fetch is not None]

    async def close(self) -> None:
        """Forget all, and wait until nothing is fetched any more."""
        await asyncio.gather(*self.keep(()), return_exceptions=True)

    def _make(self, provider: Provider) -> KeySource:
        if isinstance(provider, OidcProvider):
            check_url(f"OidcProvider(domain={provider.domain!r})", provider.issuer, loopback_http=self._loopback_http)
            return RemoteKeys(lambda: self._discover(provider), elapsed=self._elapsed)
        jwks = str(provider.jwks)
        if not provider.is_inline:
            check_url(f"JwtProvider(jwks={jwks!r})", jwks, loopback_http=self._loopback_http)
            return RemoteKeys(lambda: self._load(jwks), elapsed=self._elapsed)
        return InlineKeys(_inline(provider, jwks))

    async def _load(self, url: str) -> KeySet:
        raw = await self._get(url)
        try:
            # Building a hundred keys takes a while.
            return await asyncio.to_thread(parse_keys, raw)
        except ValueError as error:
            raise KeysUnavailable(f"{url} is {error}", is_temporary=False) from None

    async def _discover(self, provider: OidcProvider) -> KeySet:
        url = f"{provider.issuer}/.well-known/openid-configuration"
        raw = await self._get(url)
        try:
            document = msgspec.json.decode(raw, type=_Discovery)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise KeysUnavailable(f"{url} is not a discovery document: {error}", is_temporary=False) from None
        if normal_issuer(document.issuer) != provider.issuer:
            raise KeysUnavailable(
                f"{url} is of the issuer {document.issuer!r}, not {provider.issuer!r}", is_temporary=False
            )
        try:
            check_url(
                f"the key set {document.jwks_uri!r} that {url} names",
                document.jwks_uri,
                loopback_http=self._loopback_http,
            )
        except SchemaError as error:
            raise KeysUnavailable(str(error), is_temporary=False) from None
        return await self._load(document.jwks_uri)

    async def _get(self, url: str) -> bytes:
        try:
            return await self._fetch(url)
        except FetchFailed as error:
            raise KeysUnavailable(str(error), is_temporary=error.is_temporary) from None


class _Discovery(msgspec.Struct):
    issuer: str
    jwks_uri: str


def _inline(provider: JwtProvider, url: str) -> KeySet:
    what = f"JwtProvider(issuer={provider.issuer!r}, jwks=…)"
    try:
        keys = parse_keys(data_url_content(url))
    except ValueError as error:
        raise SchemaError(f"{what}: the key set is {error}") from None
    if not keys.has(provider.algorithm):
        raise SchemaError(
            f"{what}: the key set has no key for {provider.algorithm} that could be used: a public key with a `kid`"
            + (f", of {RSA_MIN_BITS} bits or more." if provider.algorithm == "RS256" else ".")
        )
    return keys
