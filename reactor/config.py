"""What a deployment is run with: one frozen `Settings`, from flags, the environment and pyproject.toml, in this order.

A wrong setting is a `ConfigError` that names where it stands. Nothing else in the package reads `REACTOR_*` variables
(but `reactor.faults`, which tests arm through one).
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from reactor.errors import ReactorError
from reactor.limits import Limits

__all__ = ["ConfigError", "Settings", "load_settings"]

PREFIX = "REACTOR_"
LIMITS_PREFIX = "REACTOR_LIMITS_"


class ConfigError(ReactorError):
    """A setting that can't be used. The text names the flag, the variable or the file it came from."""

    code = "InvalidSetting"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One deployment's settings. Paths are absolute once `load_settings` made it; times in seconds."""

    app: Path = Path()
    """The directory that holds `functions/` and `schema.py`."""
    data: Path = Path(".reactor")
    """Where the database lives. The default is inside `app`."""
    files: str | None = None
    """Where stored files live, like `s3://bucket/prefix`. The default is inside `data`."""
    host: str = "127.0.0.1"
    port: int = 3210
    """0 takes any free port."""
    site_port: int = 3211
    """HTTP actions are served here, as they are under `/http/` of `port`. 0 takes any free port."""
    public_url: str | None = None
    """How clients reach `port`, when that is not how it is bound (behind a proxy)."""
    public_site_url: str | None = None
    """How HTTP actions are reached from outside. Without it, below `/http` of `public_url`."""
    instance_name: str = "reactor"
    admin_keys: tuple[str, ...] = ()
    """Any of them opens the admin functions. When there is none, one is made (see `reactor admin-key`)."""
    dev: bool = False
    """Errors reach clients in full, and `/` lists the functions."""
    open_metrics: bool = False
    """Whoever asks from this machine gets `/metrics` without an admin key. Behind a proxy on it, that is everybody."""
    traces: bool = False
    """Send OpenTelemetry traces, to where the usual `OTEL_EXPORTER_OTLP_…` variables say. Needs `reactor[otel]`."""
    log_format: Literal["auto", "text", "json"] = "auto"
    """What `reactor serve` writes. "auto": JSON lines when its output is no terminal. `reactor dev` writes text anyway."""
    token_skew_s: float = 5.0
    """How far the clocks of identity providers may be from ours."""
    codegen: Path | None = None
    """`reactor dev` keeps the TypeScript types in this directory fresh, `reactor codegen` writes them there."""
    openapi: bool | None = None
    """Anybody may read `/api/openapi.json`. By default so in development; in production it takes the admin key."""
    loopback_issuers: bool = False
    """Identity providers on this machine may speak plain http. In development they may anyway."""
    manual_clock: bool = False
    """Time stands still until `POST /api/testing/advance_clock`. For tests."""
    synchronous: Literal["FULL", "NORMAL", "OFF"] = "FULL"
    """Anything but FULL loses acknowledged mutations when power fails."""
    readers: int = 6
    """Connections that queries run on."""
    switch_interval_s: float = 0.0001
    """Python's thread switch interval while serving. 0 leaves it alone. Source: engine.md rule 19."""
    compress_messages: bool = False
    """Compress each WebSocket message, for each subscriber again."""
    stop_grace_s: float = 10.0
    """How long a stopping server waits for what it has accepted."""
    cron_splay: bool = True
    """Each cron runs at a second of its own, so that they don't all come at the full minute."""
    supervise: bool = True
    """`serve` runs under a parent process that restarts it."""
    hang_after_s: float = 30.0
    """A supervised server whose event loop stood still this long is killed and started again."""
    limits: Limits = Limits()


_SCALARS: dict[str, str] = {
    "app": "a directory",
    "data": "a directory",
    "files": "a URL like s3://bucket/prefix",
    "host": "text",
    "port": "a port number (0 to 65535)",
    "site_port": "a port number (0 to 65535)",
    "public_url": "a URL",
    "public_site_url": "a URL",
    "instance_name": "text",
    "admin_keys": "a list of texts",
    "dev": "true or false",
    "codegen": "a directory",
    "openapi": "true or false",
    "open_metrics": "true or false",
    "traces": "true or false",
    "log_format": "auto, text or json",
    "token_skew_s": "a number of seconds",
    "loopback_issuers": "true or false",
    "manual_clock": "true or false",
    "synchronous": "FULL, NORMAL or OFF",
    "readers": "a number of threads (1 to 64)",
    "switch_interval_s": "a number of seconds",
    "compress_messages": "true or false",
    "stop_grace_s": "a number of seconds",
    "cron_splay": "true or false",
    "supervise": "true or false",
    "hang_after_s": "a number of seconds",
}
_TYPES = {f.name: f.type for f in msgspec.structs.fields(Settings)}
_LIMIT_TYPES = {f.name: f.type for f in msgspec.structs.fields(Limits)}
_FLAGS = {"admin_keys": "--admin-key", "app": "the directory"}
_DIRECTORIES = ("app", "data", "codegen")
_LIMIT_SOURCES = ("file_limits", "env_limits", "given_limits")
_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


def load_settings(
    app: str | os.PathLike[str] | None = None,
    *,
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Settings:
    """Put the settings together; the first source that names one wins.

    `flags` are by field name, None meaning "not given". `environ` is `os.environ` unless given. The file is the nearest
    `pyproject.toml` at or above the app's directory (without one given: the working directory, or `cwd` in its place).
    Relative paths are relative to the working directory in flags and variables, to the file's directory in a file.
    Raises ConfigError.
    """
    environ = os.environ if environ is None else environ
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    if app is not None:
        given["app"] = Path(app)
    here = (cwd or Path()).absolute()
    directory = here / Path(given.get("app") or environ.get("REACTOR_APP") or "").expanduser()
    values: dict[str, Any] = {**_from_file(directory), **_from_environment(environ)}
    values.update(_limits_in_code(given.pop("limits", None)))
    for name, value in given.items():
        values[name] = _check(name, value, _FLAGS.get(name) or "--" + name.replace("_", "-"))
    limits = {key: value for source in _LIMIT_SOURCES for key, value in values.pop(source, {}).items()}
    if "limits" not in values and limits:
        values["limits"] = Limits(**limits)
    settings = msgspec.structs.replace(Settings(), **values)
    app_dir = Path(os.path.abspath(here / settings.app.expanduser()))
    data = Path(os.path.abspath((here if "data" in values else app_dir) / settings.data.expanduser()))
    codegen = settings.codegen and Path(os.path.abspath(here / settings.codegen.expanduser()))
    return msgspec.structs.replace(settings, app=app_dir, data=data, codegen=codegen)


def _limits_in_code(limits: Any) -> dict[str, Any]:
    """`limits=` of a caller: a whole `Limits`, or a mapping of some of them."""
    if limits is None:
        return {}
    if isinstance(limits, Limits):
        return {"limits": limits}
    if not isinstance(limits, Mapping):
        raise ConfigError(f"limits must be a Limits or a mapping, not {limits!r}")
    return {"given_limits": {name: _check_limit(name, value, "limits") for name, value in limits.items()}}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """What `REACTOR_*` says. Variables that are no setting are left alone: an app may have its own."""
    found: dict[str, Any] = {}
    for name in _SCALARS:
        variable = PREFIX + name.upper()
        if variable in environ:
            found[name] = _check(name, environ[variable], variable)
    if "REACTOR_ADMIN_KEY" in environ:
        found["admin_keys"] = (*found.get("admin_keys", ()), *environ["REACTOR_ADMIN_KEY"].split())
    limits = {
        name: _check_limit(name, environ[variable], variable)
        for name in _LIMIT_TYPES
        if (variable := LIMITS_PREFIX + name.upper()) in environ
    }
    return {**found, "env_limits": limits}


def _from_file(directory: Path) -> dict[str, Any]:
    path = next((p for d in (directory, *directory.parents) if (p := d / "pyproject.toml").is_file()), None)
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text("utf-8")).get("tool", {}).get("reactor", {})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} can't be read: {error}") from None
    if not isinstance(table, dict):
        raise ConfigError(f"[tool.reactor] in {path} must be a table")
    found: dict[str, Any] = {}
    for name, value in table.items():
        source = f"{name} in [tool.reactor] of {path}"
        if name == "limits":
            if not isinstance(value, dict):
                raise ConfigError(f"limits in [tool.reactor] of {path} must be a table")
            where = f"[tool.reactor.limits] of {path}"
            found["file_limits"] = {k: _check_limit(k, x, f"{k} in {where}") for k, x in value.items()}
        elif name in _DIRECTORIES:
            found[name] = path.parent / _check(name, value, source)
        else:
            found[name] = _check(name, value, source)
    return found


def _check(name: str, value: Any, source: str) -> Any:
    if name not in _SCALARS:
        raise ConfigError(f"{source}: there is no setting {name!r}{_did_you_mean(name, [*_SCALARS, 'limits'])}")
    problem = ConfigError(f"{source} must be {_SCALARS[name]}, not {value!r}")
    if name == "admin_keys":
        if isinstance(value, str):
            value = value.split()
        if not isinstance(value, list | tuple) or not all(isinstance(key, str) and key.strip() for key in value):
            raise problem
        return tuple(value)
    if _TYPES[name] in (bool, bool | None) and isinstance(value, str):
        value = _BOOLEANS.get(value.strip().lower(), value)
    if name == "synchronous" and isinstance(value, str):
        value = value.upper()
    if name in _DIRECTORIES and isinstance(value, str | Path):
        value = Path(value)
    else:
        try:
            value = msgspec.convert(value, _TYPES[name], strict=not isinstance(value, str))
        except msgspec.ValidationError:
            raise problem from None
    if (
        (name == "files" and not value.startswith("s3://"))
        or (name.endswith("port") and not 0 <= value <= 65535)
        or (name == "readers" and not 1 <= value <= 64)
        or (name.endswith("_s") and not 0 <= value < float("inf"))
    ):
        raise problem
    return value


def _check_limit(name: str, value: Any, source: str) -> Any:
    if name not in _LIMIT_TYPES:
        raise ConfigError(f"{source}: there is no limit {name!r}{_did_you_mean(name, _LIMIT_TYPES)}")
    try:
        number = msgspec.convert(value, _LIMIT_TYPES[name], strict=not isinstance(value, str))
    except msgspec.ValidationError:
        number = -1
    if not 0 < number < float("inf"):
        kind = "a whole number" if _LIMIT_TYPES[name] is int else "a number"
        raise ConfigError(f"{source} must be {kind} above 0, not {value!r}")
    return number


def _did_you_mean(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f". Did you mean {close[0]!r}?" if close else f". Settings are: {', '.join(sorted(known))}"
