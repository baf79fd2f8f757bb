"""Which deployment a command talks to, and how: the one of this directory unless told otherwise, over HTTP with an admin key."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reactor.auth.kept_key import NoAdminKey, find_key
from reactor.config import Settings, load_settings
from reactor.errors import ReactorError

if TYPE_CHECKING:
    import httpx

__all__ = ["URL_FILE", "Deployment", "find_deployment", "whole_identity"]

URL_FILE = "url"
"""In the data directory of a running server: where it listens."""

TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Deployment:
    """A deployment that can be asked things."""

    url: str
    admin_key: str
    user: str = ""
    """Base64 of the user that the key acts as, with a colon before it; empty for the operator."""

    def acting_as(self, user: dict[str, Any] | None) -> Deployment:
        """The same deployment, asked by the operator as this user."""
        if user is None:
            return self
        encoded = base64.b64encode(json.dumps(whole_identity(user)).encode()).decode()
        return dataclasses.replace(self, user=f":{encoded}")

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: Any = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> httpx.Response:
        """Ask, and return the answer, whole. `timeout_s=None` waits as long as it takes.

        Raises ReactorError with what a person can do about it.
        """
        with self.stream(method, path, json=json, content=content, timeout_s=timeout_s) as answer:
            answer.read()
            return answer

    @contextlib.contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: Any = None,
        timeout_s: float | None = TIMEOUT_S,
    ) -> Iterator[httpx.Response]:
        """Like `request`, with the answer's body still to be read."""
        import httpx  # takes a while to load, and serving needs this module, too

        headers = {"authorization": f"Convex {self.admin_key}{self.user}"}
        if content is not None:
            headers["content-type"] = "application/octet-stream"
        elif json is not None:
            content = _encoded(json)
            headers["content-type"] = "application/json"
        timeout = httpx.Timeout(timeout_s, connect=TIMEOUT_S)
        try:
            with httpx.stream(
                method, self.url.rstrip("/") + path, content=content, headers=headers, timeout=timeout
            ) as answer:
                if not answer.is_success:
                    answer.read()
                    raise ReactorError(self._problem(path, answer), code="Refused")
                yield answer
        except httpx.InvalidURL as error:
            raise ReactorError(f"{self.url} is not a URL: {error}", code="InvalidUrl") from None
        except httpx.TransportError as error:
            reason = str(error) or type(error).__name__
            raise ReactorError(
                f"no server answers at {self.url} ({reason}). Start one with `reactor dev`, or say where it is with --url.",
                code="NotRunning",
            ) from None

    def _problem(self, path: str, answer: httpx.Response) -> str:
        try:
            return answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            return f"{self.url}{path} answered {answer.status_code}; is it a reactor server?"

    def call(self, path: str, args: dict[str, Any], *, encoded: bool = False) -> Any:
        """What a function of any kind returns, in plain JSON or `encoded`. Raises ReactorError with what it says."""
        answer = self.request(
            "POST",
            "/api/function",
            json={"path": path, "args": args, "format": "convex_encoded_json" if encoded else "json"},
        ).json()
        if answer["status"] != "success":
            raise ReactorError(answer["errorMessage"], code="Refused")
        return answer["value"]


def _encoded(value: Any) -> bytes:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ReactorError("what was given is not text in UTF-8.", code="BadInput") from None
    except (ValueError, RecursionError) as error:
        raise ReactorError(f"what was given can't be sent as JSON: {error}.", code="BadInput") from None


def whole_identity(user: dict[str, Any]) -> dict[str, Any]:
    """A user to act as, with what the server requires filled in."""
    issuer = user.get("issuer", "https://convex.test")
    subject = user.get("subject", "test")
    return {"subject": subject, "issuer": issuer, "tokenIdentifier": f"{issuer}|{subject}", **user}


def find_deployment(
    app: Path | None, *, data: Path | None = None, url: str | None = None, admin_key: str | None = None
) -> Deployment:
    """The deployment of flags, else of `CONVEX_SELF_HOSTED_URL`, else the one that keeps its data in this directory.

    The key that is kept for this user goes to a server of this machine only. Raises ReactorError.
    """
    url = url or os.environ.get("CONVEX_SELF_HOSTED_URL") or None
    admin_key = (
        admin_key or os.environ.get("CONVEX_SELF_HOSTED_ADMIN_KEY") or os.environ.get("REACTOR_ADMIN_KEY") or None
    )
    if admin_key is not None:
        admin_key = admin_key.split()[0]
    if url is not None:
        if admin_key is None:
            raise ReactorError(f"the admin key of {url} is needed: --admin-key, or CONVEX_SELF_HOSTED_ADMIN_KEY.")
        return Deployment(url, admin_key)
    settings = load_settings(app, flags={"data": data})
    return Deployment(_local_url(settings), admin_key or _local_key(settings))


def _local_url(settings: Settings) -> str:
    try:
        return (settings.data / URL_FILE).read_text("ascii").strip()
    except FileNotFoundError:
        host = settings.host if settings.host not in ("0.0.0.0", "::", "") else "127.0.0.1"
        return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def _local_key(settings: Settings) -> str:
    if settings.admin_keys:
        return settings.admin_keys[0]
    try:
        key = find_key(settings.data).key
    except FileNotFoundError:
        raise ReactorError(
            f"there is no deployment in {settings.data}. Run this in the app's directory once `reactor dev` has run, or say "
            "which one with --url and --admin-key.",
            code="NoDeployment",
        ) from None
    if key is None:
        raise NoAdminKey(
            f"the admin key of {settings.data} is not known to this user here. Give it with --admin-key, run this as the "
            "user who runs the server, or make another one with `reactor admin-key new`."
        )
    return key
