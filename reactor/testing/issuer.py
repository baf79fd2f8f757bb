"""An identity provider for tests, on a port of this machine: `TestIssuer`; pytest gets it as the fixture `issuer`.

It has what a real one has, as far as verifying tokens goes: a discovery document, a key set, signed tokens. Its keys are
made afresh and forgotten.
"""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.api_jws import PyJWS

from reactor.auth.providers import Algorithm, JwtProvider, OidcProvider
from reactor.clock import Clock, SystemClock

__all__ = ["TestIssuer"]

LIFETIME_S: Final = 3600

_Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class TestIssuer:
    """Signs tokens, and answers for their keys while it runs: `with TestIssuer() as issuer:`.

    `issuer.provider` is what to put among the `providers` of an app; `issuer.token("ann", email="ann@example.com")` is
    what a client would send. `clock` decides when tokens are issued.
    """

    __test__: ClassVar = False  # for pytest, which takes it for a class of tests

    def __init__(
        self,
        *,
        algorithm: Algorithm = "RS256",
        application_id: str = "test-app",
        clock: Clock | None = None,
        port: int = 0,
    ) -> None:
        """`algorithm` is what `token` signs with. `port` 0 takes any free one."""
        self.algorithm: Algorithm = algorithm
        self.application_id = application_id
        self.clock: Clock = clock or SystemClock()
        self.requests: list[str] = []
        """The paths that were asked for so far."""
        self._port = port
        self._series = secrets.token_hex(4)  # with it, a server that kept the keys of an issuer before notices
        self._generation = 1
        self._keys: dict[str, _Key] = {}
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------------------------------------------ starting, stopping

    def start(self) -> TestIssuer:
        """Answer requests from now on."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests.append(self.path)
                status, headers, body = issuer.respond(self.path)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="test issuer", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Answer no more. Started again, it has the same address and keys."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join()
            server.server_close()

    def __enter__(self) -> TestIssuer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    # ------------------------------------------------------------------------------------------------------ who it is

    @property
    def url(self) -> str:
        """The issuer: what tokens have as `iss`."""
        assert self._port, "not started"
        return f"http://127.0.0.1:{self._port}"

    @property
    def jwks_url(self) -> str:
        return f"{self.url}/jwks"

    @property
    def provider(self) -> OidcProvider | JwtProvider:
        """How an app accepts its tokens: as those of an OpenID Connect provider where these may use `algorithm`."""
        if self.algorithm == "ES256":
            return self.jwt_provider
        return OidcProvider(domain=self.url, application_id=self.application_id)

    @property
    def jwt_provider(self) -> JwtProvider:
        """How an app accepts its tokens without OpenID Connect."""
        return JwtProvider(
            issuer=self.url, jwks=self.jwks_url, algorithm=self.algorithm, application_id=self.application_id
        )

    @property
    def jwks(self) -> dict[str, Any]:
        """The public keys, as the key set shows them."""
        self._key(self.algorithm)
        return {"keys": [{**_public(key), "kid": kid, "use": "sig"} for kid, key in self._keys.items()]}

    def respond(self, path: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body of the answer to `GET path`. Replace it to misbehave."""
        documents = {
            "/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": self.jwks_url},
            "/jwks": self.jwks,
        }
        found = path in documents
        body = json.dumps(documents.get(path, {"error": "not found"})).encode()
        return 200 if found else 404, {"Content-Type": "application/json"}, body

    # ---------------------------------------------------------------------------------------------------------- tokens

    def token(self, subject: str, /, **claims: Any) -> str:
        """A token for this user, good for an hour. `claims` are added under their own names; None takes one away."""
        now = self.clock.now_ns() // 1_000_000_000
        all_claims = {
            "iss": self.url,
            "sub": subject,
            "aud": self.application_id,
            "iat": now,
            "exp": now + LIFETIME_S,
            **claims,
        }
        return self.sign({name: value for name, value in all_claims.items() if value is not None})

    def sign(
        self, claims: Mapping[str, Any], *, algorithm: Algorithm | None = None, headers: Mapping[str, Any] | None = None
    ) -> str:
        """Sign exactly these claims. `headers` are added to, and replace, `alg`, `kid` and `typ`."""
        algorithm = algorithm or self.algorithm
        kid, key = self._key(algorithm)
        return PyJWS().encode(json.dumps(claims).encode(), key, algorithm, {"kid": kid, **(headers or {})})

    def rotate(self) -> None:
        """Forget all keys: later tokens are signed with new ones."""
        self._generation += 1
        self._keys.clear()

    def _key(self, algorithm: str) -> tuple[str, _Key]:
        kid = f"{algorithm.lower()}-{self._series}-{self._generation}"
        if kid not in self._keys:
            self._keys[kid] = _make(algorithm)
        return kid, self._keys[kid]


def _make(algorithm: str) -> _Key:
    if algorithm == "RS256":
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    raise ValueError(f"a TestIssuer signs with RS256, ES256 or EdDSA, not {algorithm!r}")


def _public(key: _Key) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        return RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
