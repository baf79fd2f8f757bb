"""What the operator reads on the terminal: the banner, reloads, errors in the app's code."""

from __future__ import annotations

import os
import shlex
import sys
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.text import Text

from reactor.cli.json_log import json_line
from reactor.cli.terminal_text import harmless
from reactor.errors import ReactorError

if TYPE_CHECKING:
    from reactor.server import Reactor

__all__ = ["Progress", "announce", "complain", "complain_about_app", "say", "use_json"]

UNKNOWN_KEY: Final = "made by somebody else, or elsewhere: `reactor admin-key new` makes another"

_out = Console(highlight=False, soft_wrap=True)
_err = Console(highlight=False, soft_wrap=True, stderr=True)


_json = False


def use_json() -> None:
    """From now on write JSON lines, for a machine."""
    global _json
    _json = True


def _write(level: str, message: str, **more: Any) -> None:
    sys.stderr.buffer.write(json_line(level, "reactor.server", message, **more))
    sys.stderr.buffer.flush()


def say(message: str, style: str = "dim") -> None:
    if _json:
        _write("INFO", message)
        return
    _out.print(Text(harmless(message), style=style))


def complain(message: str, *, cause: BaseException | None = None) -> None:
    """An error that stops us. The traceback only when it is not one of ours."""
    if _json:
        told = None if cause is None or isinstance(cause, ReactorError) else "".join(traceback.format_exception(cause))
        _write("ERROR", message, **({} if told is None else {"error": {"traceback": told}}))
        return
    _err.print(Text.assemble(("reactor: ", "bold red"), harmless(message)))
    if cause is not None and not isinstance(cause, ReactorError):
        _err.print(Text(harmless("".join(traceback.format_exception(cause)).rstrip())))


class Progress:
    """Tells of a long schema change now and then; short ones stay silent."""

    def __init__(self) -> None:
        self._next = 0.0
        self._what = ""
        self._began, self._first = 0.0, 0

    def __call__(self, what: str, count: int, total: int) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._next = what, now + 1.0
            self._began, self._first = now, count
        elif now >= self._next:
            self._next = now + 5.0
            rate = (count - self._first) / (now - self._began)
            left = f", about {(total - count) / rate:,.0f} s left" if rate else ""
            say(f"{what}: {count:,} of {total:,} documents, {rate:,.0f}/s{left}")


def announce(reactor: Reactor, url: str, site_url: str, *, seconds: float) -> None:
    """Tell where everything is, and what a front end needs to know."""
    settings = reactor.settings
    mode = "dev" if settings.dev else "serve"
    if _json:
        message = f"reactor {mode} ready in {seconds * 1000:.0f} ms: {_count(reactor)}"
        where: dict[str, str] = {"url": url, "site_url": site_url}
        if (kept := reactor.kept_key) is not None and kept.path is not None:
            where["admin_key_file"] = str(kept.path)
        _write("INFO", message, **where)
        return
    _out.print(Text.assemble(("reactor ", "bold"), f"{mode} ready in {seconds * 1000:.0f} ms"))
    _row("Backend", url)
    _row("HTTP actions", site_url)
    _row("App", f"{_short(settings.app)}  ({_count(reactor)})")
    _row("Data", _short(settings.data))
    if settings.manual_clock:
        _row("Clock", "stands still until POST /api/testing/advance_clock")
    key = reactor.admin_keys[0] if reactor.admin_keys else None
    if not settings.dev:
        if (kept := reactor.kept_key) is not None and kept.path is not None:
            _row("Admin key", f"in {_short(kept.path)}")
        elif key is None:
            _row("Admin key", UNKNOWN_KEY)
        return
    _row("Admin key", key or UNKNOWN_KEY)
    _out.print(Text("\n  For a front end's .env.local:", style="dim"))
    _out.print(f"    VITE_CONVEX_URL={url}          [dim]# Next.js: NEXT_PUBLIC_CONVEX_URL[/dim]")
    _out.print(Text("  For `npx convex run|data|logs`:", style="dim"))
    _out.print(f"    CONVEX_SELF_HOSTED_URL={url}")
    _out.print(Text(f"    CONVEX_SELF_HOSTED_ADMIN_KEY={shlex.quote(key) if key else '…'}\n"))


def _row(label: str, value: str) -> None:
    _out.print(Text.assemble((f"  {label:<13}", "dim"), value))


def _count(reactor: Reactor) -> str:
    functions = reactor.functions
    if not functions:
        return "no functions yet"
    modules = len({path.partition(":")[0] for path in functions})
    return f"{len(functions)} functions in {modules} module{'s' if modules != 1 else ''}"


def _short(path: Path) -> str:
    try:
        return f"./{path.relative_to(Path.cwd())}" if path != Path.cwd() else "."
    except ValueError:
        return str(path)


def complain_about_app(error: BaseException, app: Path, consequence: str) -> None:
    """An error in the app's own code: where it is in their files, what it says, and what happens now."""
    origin = error.__cause__ or error
    lines: list[str] = []
    if isinstance(origin, SyntaxError):
        lines += [line.rstrip("\n") for line in traceback.format_exception_only(origin)]
    else:
        frames = [f for f in traceback.extract_tb(origin.__traceback__) if _is_theirs(f.filename, app)]
        for frame in frames[-4:]:
            lines.append(f"  {os.path.relpath(frame.filename, app)}, line {frame.lineno}, in {frame.name}")
            if frame.line:
                lines.append(f"      {frame.line}")
        if isinstance(error, ReactorError):
            lines.append(str(error).replace(f"{app}{os.sep}", ""))
        elif frames:
            lines += [line.rstrip("\n") for line in traceback.format_exception_only(error)]
        else:
            lines += traceback.format_exception(error)
    if _json:
        _write("ERROR", "\n".join([*lines, consequence]))
        return
    _err.print(Text(harmless("\n".join(lines)), style="red"))
    _err.print(Text(harmless(consequence), style="bold"))


def _is_theirs(filename: str, app: Path) -> bool:
    try:
        relative = Path(filename).absolute().relative_to(app)
    except ValueError:
        return False
    return "site-packages" not in relative.parts
