"""Every block of the guide and the README is run: see `snippets` for what each kind means."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.main

from reactor.cli.commands import cli
from reactor.config import load_settings
from reactor.errors import SchemaError
from reactor.limits import MIB, Limits
from reactor.runtime.loader import AppLoader
from tests.docs.snippets import PAGES, REPOSITORY, Block, Page, read_page
from tests.support.driver import CLIENTS, require_node
from tests.support.server import ADMIN_KEY, running_server

GUIDE = [read_page(path) for path in PAGES]
WITH_APP = [page for page in GUIDE if page.app_modules()]
TESTED = [page for page in WITH_APP if page.tests() or any(name.startswith("tests/") for name in page.files())]

LANGUAGES: dict[str, set[str]] = {
    "python": {"title", "raises", "test", "run-against-server"},
    "sh": {"run", "run-against-server"},
    "json": set(),
    "toml": {"title"},
    "yaml": set(),
    "html": {"title"},
    "tsx": set(),
    "text": set(),
}


def blocks(language: str, *flags: str) -> list[pytest.param]:
    """The blocks in this language that carry all of the flags."""
    return [
        pytest.param(page, block, id=f"{page.path.stem}:{block.line}")
        for page in GUIDE
        for block in page.blocks
        if block.language == language and all(flag in block.info for flag in flags)
    ]


def run(command: list[str], directory: Path, **environment: str) -> str:
    """Run to the end, in the directory, with this Python's commands first on the PATH. Returns the output."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    return output


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.path.stem)
def test_every_block_says_what_it_is(page: Page) -> None:
    unknown = [
        f"line {block.line}: {block.language} {block.info}"
        for block in page.blocks
        if block.language not in LANGUAGES or set(block.info) - LANGUAGES[block.language]
    ]
    assert unknown == []


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.path.stem)
def test_fences_are_all_seen(page: Page) -> None:
    assert page.path.read_text("utf-8").count("\n```") == 2 * len(page.blocks)


@pytest.mark.parametrize("page", TESTED, ids=lambda page: page.path.stem)
def test_a_page_is_an_app_whose_blocks_pass_as_tests(page: Page, tmp_path: Path) -> None:
    app = page.write_app(tmp_path)
    run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"], app)


@pytest.mark.parametrize(("page", "block"), blocks("python", "raises"))
def test_what_cannot_be_loaded_is_refused_with_the_text_that_the_page_names(
    page: Page, block: Block, tmp_path: Path
) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "broken.py").write_text(block.text)
    with pytest.raises(SchemaError, match=re.escape(block.info["raises"])):
        AppLoader(tmp_path).load()


def test_what_the_guide_teaches_satisfies_pyright(tmp_path: Path) -> None:
    names = []
    for page in WITH_APP:
        app = page.write_app(tmp_path / page.path.stem)
        (app / "tests" / "test_page.py").unlink(missing_ok=True)
        for script in ("client.py", "watch.py"):
            (app / script).unlink(missing_ok=True)
        names.append(page.path.stem)
    settings = {
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
        "executionEnvironments": [{"root": name} for name in names],
    }
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    run([sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)], tmp_path)


@pytest.mark.process
@pytest.mark.parametrize("page", [p for p in GUIDE if p.path.stem == "clients"], ids=lambda page: page.path.stem)
def test_clients_of_every_kind_reach_a_server(page: Page, tmp_path: Path) -> None:
    app = page.write_app(tmp_path / "app")
    with running_server(tmp_path / "server", app=app) as server:
        for block in page.blocks:
            if "run-against-server" not in block.info:
                continue
            text = block.text.replace("http://127.0.0.1:3210", server.url)
            if block.language == "python":
                assert run([sys.executable, "-c", text], tmp_path) == "hello\n"
            else:
                lines = [line for line in text.splitlines() if line]
                if text.startswith("reactor "):
                    where = {"CONVEX_SELF_HOSTED_URL": server.url, "CONVEX_SELF_HOSTED_ADMIN_KEY": ADMIN_KEY}
                    for line in lines:
                        run(["sh", "-ec", line], tmp_path, **where)
                    continue
                answers = [json.loads(run(["sh", "-ec", line], tmp_path)) for line in lines]
                assert [answer["status"] for answer in answers] == ["success"] * len(lines)
                assert answers[1]["value"] == answers[2]["value"]


@pytest.mark.parametrize(("page", "block"), blocks("sh", "run"))
def test_a_command_that_the_page_says_to_run_runs(page: Page, block: Block, tmp_path: Path) -> None:
    app = page.write_app(tmp_path)
    for line in block.text.splitlines():
        run(["sh", "-ec", line], app)


@pytest.mark.parametrize(("page", "block"), blocks("sh"))
def test_reactor_commands_have_options_that_exist(page: Page, block: Block) -> None:
    group = typer.main.get_command(cli)
    for line in re.findall(r"(?:^|bin/|&& )(reactor .*?)(?:&&|#|$)", block.text, re.MULTILINE):
        _, command, *arguments = shlex.split(line)
        group.commands[command].make_context(command, arguments)  # type: ignore[attr-defined]


def test_commands_named_in_the_text_exist() -> None:
    group = typer.main.get_command(cli)
    named = {match[1] for page in GUIDE for match in re.finditer(r"`reactor ([\w-]+)", page.path.read_text("utf-8"))}
    assert named <= set(group.commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("page", "block"), blocks("toml"))
def test_settings_are_settings(page: Page, block: Block, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(block.text)
    assert load_settings(tmp_path, environ={}) != load_settings(tmp_path.parent, environ={})


@pytest.mark.node
@pytest.mark.parametrize(("page", "block"), blocks("tsx"))
def test_front_end_code_bundles_with_the_official_client(page: Page, block: Block, tmp_path: Path) -> None:
    require_node()
    source = tmp_path / "src" / "snippet.tsx"
    source.parent.mkdir()
    source.write_text(block.text)
    if "/_generated/" in block.text:
        run(["reactor", "codegen", "--out", str(tmp_path / "convex" / "_generated")], page.write_app(tmp_path))
    esbuild = CLIENTS / "node_modules" / ".bin" / "esbuild"
    options = ["--bundle", "--jsx=automatic", "--log-level=warning", "--outfile=out.js"]
    assert run([str(esbuild), str(source), *options], tmp_path, NODE_PATH=str(CLIENTS / "node_modules")) == ""


def test_the_limits_page_has_every_limit_with_its_default() -> None:
    def shown(name: str, value: float) -> str:
        if "bytes" in name.split("_"):
            return f"{value // MIB} MiB" if value % MIB == 0 else f"{value:,} bytes"
        unit = " s" if name.endswith("_s") else " days" if name.endswith("_days") else ""
        return f"{value:,.0f}{unit}"

    page = (REPOSITORY / "docs" / "limits.md").read_text("utf-8")
    told = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", page, re.MULTILINE))
    defaults = Limits()
    assert told == {name: shown(name, getattr(defaults, name)) for name in Limits.__struct_fields__}


def test_the_validators_page_names_everything_that_v_offers() -> None:
    from reactor import v

    page = (REPOSITORY / "docs" / "coming-from-convex.md").read_text("utf-8")
    offered = {name for name in dir(v) if not name.startswith("_") and callable(getattr(v, name))}
    told = set(re.findall(r"`v\.(\w+)\(", page))
    assert told <= offered


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.path.stem)
def test_links_lead_somewhere(page: Page) -> None:
    def anchors(path: Path) -> set[str]:
        headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    dead = []
    for target in re.findall(r"\]\(([^)]+)\)", page.path.read_text("utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = page.path.parent / name if name else page.path
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    assert dead == []


def test_the_map_names_modules_that_exist() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
    named = {name.rstrip("/") for name in re.findall(r"`([a-z_]+(?:/[a-z_]*)+)`", text)}
    places = (REPOSITORY, REPOSITORY / "reactor")
    lost = [
        name
        for name in named
        if not any((place / name).is_dir() or (place / f"{name}.py").is_file() for place in places)
    ]
    assert lost == []


def test_every_package_is_on_the_map() -> None:
    text = (REPOSITORY / "ARCHITECTURE.md").read_text("utf-8")
    packages = {path.parent.name for path in (REPOSITORY / "reactor").glob("*/__init__.py")}
    assert packages == {name for name in packages if f"reactor/{name}/" in text}


def test_every_page_of_the_guide_is_in_its_index() -> None:
    index = (REPOSITORY / "docs" / "README.md").read_text("utf-8")
    pages = {path.name for path in (REPOSITORY / "docs").glob("*.md")} - {"README.md"}
    assert pages == set(re.findall(r"\]\((\S+?\.md)\)", index))


async def test_the_mounted_app_answers_below_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = read_page(REPOSITORY / "docs" / "deployment.md")
    monkeypatch.chdir(page.write_app(tmp_path))
    mounted: dict[str, Any] = {}
    exec(compile(page.files()["main.py"], "main.py", "exec"), mounted)

    async with httpx.AsyncClient(transport=httpx.ASGITransport(mounted["app"]), base_url="http://test") as client:
        answer = await client.get("/live/version")
    await mounted["reactor"].stop()

    assert answer.status_code == 200
