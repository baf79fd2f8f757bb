"""Identity providers, as `functions/auth_config.py` lists them: what each is, and which tokens are its own.

A provider that can't work is refused when it is made, with a `SchemaError` that says what to write.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import ipaddress
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

from reactor.errors import SchemaError

__all__ = [
    "Algorithm",
    "JwtProvider",
    "OidcProvider",
    "Provider",
    "check_url",
    "data_url_content",
    "normal_issuer",
    "provider_of",
]

Algorithm: TypeAlias = Literal["RS256", "ES256", "EdDSA"]

_EXAMPLE: Final = 'OidcProvider(domain="https://your-app.eu.auth0.com", application_id="…")'


def normal_issuer(text: str) -> str:
    """An issuer as issuers are compared: with a scheme (https unless given), and without a slash at the end."""
    if "://" not in text:
        text = "https://" + text
    return text.rstrip("/")


@dataclass(frozen=True, kw_only=True)
class OidcProvider:
    """A provider of OpenID Connect: Auth0, Clerk, Google, Keycloak and most others.

    `domain` is the issuer of its tokens, with or without `https://`; its keys are found through
    `<domain>/.well-known/openid-configuration`. `application_id` is what tokens for this app have as their audience
    (`aud`). ID tokens signed with RS256 or EdDSA are taken.
    """

    domain: str
    application_id: str
    issuer: str = field(init=False, repr=False, compare=False)
    """The issuer as it is compared."""

    def __post_init__(self) -> None:
        _check_text(self, "domain", 'the issuer of the tokens, like "https://your-app.eu.auth0.com"')
        _check_text(self, "application_id", "what the tokens have as `aud`, the client id as a rule")
        object.__setattr__(self, "issuer", _issuer(self, "domain", self.domain))

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        return ("RS256", "EdDSA")

    def describe(self) -> str:
        return f"OIDC(domain={self.domain}, app_id={self.application_id})"


@dataclass(frozen=True, kw_only=True)
class JwtProvider:
    """Whoever signs JSON Web Tokens without being an OpenID Connect provider.

    `jwks` is where its public keys are: a URL, a `data:` URL, or the key set itself (`{"keys": […]}`). `algorithm` is
    the only one taken. With `application_id`, tokens must have it among their audiences (`aud`). Tokens need the header
    `kid`, and the claims `iss`, `sub` and `exp`.
    """

    issuer: str
    jwks: str | Mapping[str, Any]
    algorithm: Algorithm
    application_id: str | None = None

    def __post_init__(self) -> None:
        _check_text(self, "issuer", "what the tokens have as `iss`")
        if self.application_id is not None:
            _check_text(self, "application_id", "what the tokens have as `aud`")
        if self.algorithm not in get_args(Algorithm):
            raise SchemaError(
                f"JwtProvider(algorithm={self.algorithm!r}) for {self.issuer}: write one of "
                f"{', '.join(map(repr, get_args(Algorithm)))}. Secrets that are shared with the issuer (HS256) are not taken."
            )
        object.__setattr__(self, "issuer", _issuer(self, "issuer", self.issuer))
        if isinstance(self.jwks, Mapping):
            # Kept as text: providers are compared, to keep the keys that were fetched across reloads.
            try:
                text = msgspec.json.encode(self.jwks, order="sorted").decode()
            except (TypeError, ValueError, OverflowError, RecursionError) as error:
                raise SchemaError(f"JwtProvider(jwks=…) for {self.issuer} is not a JSON object: {error}") from None
            object.__setattr__(self, "jwks", "data:application/json," + urllib.parse.quote(text))
        _check_text(self, "jwks", 'the URL of the public keys, or the key set itself: {"keys": […]}')
        if not self.is_inline:
            _check_scheme(f"JwtProvider(jwks={self.jwks!r})", str(self.jwks))

    @property
    def is_inline(self) -> bool:
        """Whether the keys are part of the configuration."""
        return str(self.jwks)[:5].lower() == "data:"

    @property
    def algorithms(self) -> tuple[Algorithm, ...]:
        return (self.algorithm,)

    def describe(self) -> str:
        app = "" if self.application_id is None else f", app_id={self.application_id}"
        return f"CustomJWT(issuer={self.issuer}{app})"


Provider: TypeAlias = OidcProvider | JwtProvider


def provider_of(item: object) -> Provider:
    """A provider as given, or from one of Convex's objects (`{domain, applicationID}`, `{type: "customJwt", …}`).

    Raises SchemaError.
    """
    if isinstance(item, OidcProvider | JwtProvider):
        return item
    if not isinstance(item, Mapping):
        raise SchemaError(f"a provider is like {_EXAMPLE}, not {item!r}")
    given = dict(item)
    kind = given.pop("type", "oidc")
    if kind == "oidc":
        names = {"domain": "domain", "applicationID": "application_id"}
        required, make = {"domain", "applicationID"}, OidcProvider
    elif kind == "customJwt":
        names = {"issuer": "issuer", "jwks": "jwks", "algorithm": "algorithm", "applicationID": "application_id"}
        required, make = {"issuer", "jwks", "algorithm"}, JwtProvider
    else:
        raise SchemaError(
            f'the provider {item!r} has the type {kind!r}: write "customJwt", or leave `type` out for OIDC'
        )
    for name in given:
        if name not in names:
            close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"it may have {', '.join(names)}"
            raise SchemaError(f"the provider {item!r} has {name!r}: {hint}")
    if missing := sorted(required - given.keys()):
        raise SchemaError(f"the provider {item!r} lacks {', '.join(missing)}. Write {_EXAMPLE}")
    return make(**{names[name]: value for name, value in given.items()})


def check_url(what: str, url: str, *, loopback_http: bool) -> None:
    """Whether keys may be fetched from `url`: https, or http on this machine where that is allowed. Raises SchemaError."""
    _check_scheme(what, url)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "https":
        return
    if not is_loopback(parts.hostname or ""):
        raise SchemaError(f"{what}: plain http is taken on this machine only (localhost, 127.0.0.1). Use https.")
    if not loopback_http:
        raise SchemaError(
            f"{what}: plain http is taken in development only (`reactor dev`). Use https, or set `loopback_issuers = true` "
            "(REACTOR_LOOPBACK_ISSUERS=1) for an issuer that runs beside this server."
        )


def is_loopback(host: str) -> bool:
    """Whether this is the name or address of the machine itself. Nothing is looked up."""
    host = host.lower().rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def data_url_content(url: str) -> bytes:
    """What a `data:` URL holds. Raises ValueError."""
    header, comma, data = url.partition(",")
    if not comma:
        raise ValueError("a data: URL has a comma before its content")
    raw = urllib.parse.unquote_to_bytes(data)
    if not header.lower().endswith(";base64"):
        return raw
    raw = raw.strip().replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    try:
        return base64.b64decode(raw + b"=" * (-len(raw) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"its base64 is broken: {error}") from None


def audiences_of(claim: object) -> Sequence[str]:
    """The audiences that an `aud` claim lists: one text, or several."""
    if isinstance(claim, str):
        return (claim,)
    if isinstance(claim, list) and all(isinstance(item, str) for item in claim):
        return claim
    return ()


def _check_text(provider: object, name: str, meaning: str) -> None:
    value = getattr(provider, name)
    if not isinstance(value, str) or not value.strip():
        raise SchemaError(
            f"{type(provider).__name__}({name}={value!r}): `{name}` must be a text, {meaning}."
            + (" Is an environment variable missing?" if not value else "")
        )


def _issuer(provider: object, name: str, text: str) -> str:
    issuer = normal_issuer(text.strip())
    what = f"{type(provider).__name__}({name}={text!r})"
    if isinstance(provider, OidcProvider):
        _check_scheme(what, issuer)
        parts = urllib.parse.urlsplit(issuer)
        if parts.query or parts.fragment:
            raise SchemaError(f"{what}: an issuer has no `?` and no `#`. Write {_EXAMPLE}")
    return issuer


def _check_scheme(what: str, url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        port_is_fine = parts.port is None or parts.port > 0
    except ValueError:
        raise SchemaError(f"{what}: this is not a URL.") from None
    if parts.scheme not in ("https", "http") or not parts.hostname or not port_is_fine or parts.username is not None:
        raise SchemaError(f"{what}: expected an https:// URL.")
