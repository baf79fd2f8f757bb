"""Who may sign in to a deployment: the providers of the code in force, checked before it is, and their keys.

As an `Authenticator` it stays the same over reloads; what it goes by is swapped.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from reactor.auth.authenticator import Authenticator, NoProviders
from reactor.auth.config_module import AUTH_CONFIG_MODULE, read_providers
from reactor.auth.identity import Caller
from reactor.auth.keys import KeyStore
from reactor.auth.providers import Provider, provider_of
from reactor.auth.tokens import TokenVerifier
from reactor.clock import Clock
from reactor.config import Settings
from reactor.errors import SchemaError

__all__ = ["CheckedProviders", "Identities"]


class CheckedProviders:
    """Providers that can be used."""

    def __init__(self, providers: tuple[Provider, ...], authenticator: Authenticator) -> None:
        self.providers, self.authenticator = providers, authenticator


class Identities:
    """One per deployment."""

    def __init__(self, keys: KeyStore, clock: Clock, *, skew_s: float, redact: bool) -> None:
        self._keys = keys
        self._clock = clock
        self._skew_s = skew_s
        self._redact = redact
        self._configured: tuple[Provider, ...] = ()
        self._trusted: tuple[Provider, ...] = ()
        self._authenticator: Authenticator = NoProviders()

    @classmethod
    def of(cls, settings: Settings, clock: Clock) -> Identities:
        """As a deployment's settings say."""
        keys = KeyStore(loopback_http=settings.dev or settings.loopback_issuers)
        return cls(keys, clock, skew_s=settings.token_skew_s, redact=not settings.dev)

    @property
    def providers(self) -> tuple[Provider, ...]:
        """Those whose tokens are accepted."""
        return (*self._trusted, *self._configured)

    async def authenticate(self, token: str) -> Caller:
        """See `Authenticator`."""
        return await self._authenticator.authenticate(token)

    def check(self, modules: Mapping[str, ModuleType]) -> CheckedProviders:
        """Read the providers of an app that is about to be deployed. Raises SchemaError naming the file."""
        providers = read_providers(modules)
        try:
            return CheckedProviders(providers, self._verifier(providers))
        except SchemaError as error:
            raise SchemaError(f"{modules[AUTH_CONFIG_MODULE].__file__}: {error}", code=error.code) from None

    def use(self, checked: CheckedProviders) -> None:
        """Put providers into force. Who is signed in stays so until the token ends."""
        self._configured, self._authenticator = checked.providers, checked.authenticator
        self._keys.keep(self.providers)

    def trust(self, *providers: Provider) -> None:
        """Accept the tokens of these providers too, whatever the code says. For tests, and for apps that embed us."""
        trusted = (*self._trusted, *map(provider_of, providers))
        self._trusted, before = trusted, self._trusted
        try:
            self._authenticator = self._verifier(self._configured)
        except SchemaError:
            self._trusted = before
            raise

    async def close(self) -> None:
        """Fetch no more keys."""
        await self._keys.close()

    def _verifier(self, configured: tuple[Provider, ...]) -> Authenticator:
        providers = (*self._trusted, *configured)
        if not providers:
            return NoProviders()
        return TokenVerifier(providers, self._keys, self._clock, skew_s=self._skew_s, redact=self._redact)
