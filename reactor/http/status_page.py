"""The page at `/`: that the deployment runs, in development which functions it has, and how a front end connects."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from reactor.http.misc import GREETING
from reactor.http.request import Handler, Request
from reactor.runtime.registry import RegisteredFunction

__all__ = ["ListedFunction", "StatusPage", "render_status_page"]

_STYLE = """
:root { color-scheme: light dark; --line: color-mix(in srgb, currentColor 18%, transparent);
  --soft: color-mix(in srgb, currentColor 6%, transparent); --dim: color-mix(in srgb, currentColor 60%, transparent); }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.4rem; margin: 0 0 .25rem; } h2 { font-size: 1rem; margin: 2.25rem 0 .5rem; }
p { margin: .25rem 0; color: var(--dim); }
code, pre { font: 13px/1.55 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 8px; padding: .9rem 1rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; } td { border-top: 1px solid var(--line); padding: .4rem .75rem .4rem 0;
  vertical-align: top; } td.kind { color: var(--dim); width: 6rem; } td p { font-size: .875rem; }
.error { border-color: #c33; color: #c33; white-space: pre-wrap; }
"""

_SNIPPET = """import {{ ConvexReactClient, useQuery }} from "convex/react";
import {{ anyApi as api }} from "convex/server";

const convex = new ConvexReactClient({url});
// below <ConvexProvider client={{convex}}>, this is live:
const result = useQuery({call});"""


@dataclass(frozen=True, slots=True)
class ListedFunction:
    """What the page shows of a function. `summary` is the first line of its docstring, or ""."""

    path: str
    kind: str
    is_internal: bool = False
    summary: str = ""


class StatusPage:
    """One handler. Programs get a line of text, browsers the page."""

    def __init__(
        self,
        functions: Callable[[], Iterable[RegisteredFunction]],
        broken: Callable[[], str],
        url: Callable[[], str],
        *,
        dev: bool,
        version: str,
    ) -> None:
        """`functions` and `broken` (what keeps the app's code from loading, or "") are asked, and shown, in development."""
        self._functions, self._broken, self._url, self._dev, self._version = functions, broken, url, dev, version

    def routes(self) -> dict[tuple[str, str], Handler]:
        """Handlers by method and path."""
        return {("GET", "/"): self.page}

    async def page(self, request: Request) -> None:
        """GET /"""
        headers: dict[bytes, bytes] = dict(request.scope["headers"])
        if b"text/html" not in headers.get(b"accept", b""):
            await request.answer_text(GREETING)
            return
        root = request.scope.get("root_path", "").rstrip("/")
        host = headers.get(b"host", b"").decode("latin-1")
        page = render_status_page(
            f"{request.scope.get('scheme', 'http')}://{host}{root}" if host else self._url(),
            [_listed(fn) for fn in self._functions()] if self._dev else None,
            version=self._version,
            broken=self._broken() if self._dev else "",
        )
        await request.answer_raw(
            page, [(b"content-type", b"text/html; charset=utf-8"), (b"cache-control", b"no-store")]
        )


def _listed(fn: RegisteredFunction) -> ListedFunction:
    text = (fn.function.__doc__ or "").strip()
    return ListedFunction(fn.path, fn.kind, fn.is_internal, text.splitlines()[0] if text else "")


def render_status_page(
    url: str, functions: Sequence[ListedFunction] | None, *, version: str, broken: str = ""
) -> bytes:
    """The page. `functions` None hides them (production); `broken` is the error that keeps the app's code from loading."""
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>reactor</title>"
        f'<meta name=viewport content="width=device-width, initial-scale=1"><style>{_STYLE}</style>'
        f"<h1>reactor is running</h1><p>Version {html.escape(version)} · clients connect to <code>{html.escape(url)}</code></p>"
    ]
    if broken:
        parts.append(f"<h2>The code does not load</h2><pre class=error>{html.escape(broken)}</pre>")
    if functions is not None:
        public = [f for f in functions if not f.is_internal]
        parts.append("<h2>Functions</h2>")
        if public:
            rows = "".join(
                f"<tr><td class=kind>{f.kind}<td><code>{html.escape(f.path)}</code>"
                + (f"<p>{html.escape(f.summary)}</p>" if f.summary else "")
                for f in public
            )
            parts.append(f"<table>{rows}</table>")
        else:
            parts.append("<p>None yet. Write <code>functions/tasks.py</code>; it is live once saved.</p>")
        if internal := len(functions) - len(public):
            parts.append(f"<p>and {internal} internal</p>")
        query = next((f.path for f in public if f.kind == "query"), "tasks:list")
        snippet = _SNIPPET.format(url=json.dumps(url), call=_javascript_reference(query))
        parts.append(
            "<h2>In a front end</h2><p>With the official client: <code>npm install convex</code></p>"
            f"<pre>{html.escape(snippet)}</pre>"
        )
        curl = f"curl {url}/api/query -H 'Content-Type: application/json' \\\n  -d '{json.dumps({'path': query, 'args': {}, 'format': 'json'})}'"
        parts.append(f"<h2>From anywhere</h2><pre>{html.escape(curl)}</pre>")
    return "".join(parts).encode()


def _javascript_reference(path: str) -> str:
    module, _, name = path.partition(":")
    parts = [*module.split("/"), name]
    return "api" + "".join(f".{part}" if part.isidentifier() else f"[{json.dumps(part)}]" for part in parts)
