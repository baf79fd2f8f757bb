"""What an app consists of, as the history of deploys compares it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from reactor.model.cron_jobs import DeclaredCron
from reactor.model.deployment_events import Deployed
from reactor.runtime.app import App
from reactor.schema.spec import schema_json

__all__ = ["describe_app"]


def describe_app(app: App, crons: Iterable[DeclaredCron], providers: Sequence[str]) -> Deployed:
    """Modules are told apart by the text of their files. `providers` describe who may sign users in."""
    return Deployed(
        {f"{path}.js": _digest(module) for path, module in sorted(app.modules.items())},
        {cron.name: hashlib.sha256(repr(cron).encode()).hexdigest() for cron in crons},
        list(providers),
        None if app.schema is None else msgspec.json.encode(schema_json(app.schema)).decode(),
    )


def _digest(module: ModuleType) -> str:
    try:
        return hashlib.sha256(Path(module.__file__ or "").read_bytes()).hexdigest()
    except OSError:
        return ""  # made in memory, or gone since: taken for unchanged
