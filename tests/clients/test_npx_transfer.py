"""`npx convex import` and `export` against our server (deployment-api 32 to 47). The endpoints' own tests are in unit/transfer."""

from __future__ import annotations

import json
import os
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.official_cli import make_project, npx_convex
from tests.support.server import ADMIN_KEY, ReactorProcess, running_server

pytestmark = [pytest.mark.node, pytest.mark.process]

ADMIN = {"Authorization": f"Convex {ADMIN_KEY}"}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReactorProcess]:
    """A server of their own: these tests empty its tables."""
    with running_server(tmp_path_factory.mktemp("transfer")) as server:
        yield server


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path)


def npx(project: Path, server: ReactorProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return npx_convex(project, server, *arguments)


def message(number: int, **more: object) -> dict[str, object]:
    return {"channel": "npx", "body": f"body {number}", "author": "a, b", "number": number, **more}


def test_import_formats_and_modes(project: Path, deployment: ReactorProcess) -> None:
    """32 to 35, 37, 38: what was imported is there, and what was refused left nothing"""
    (project / "rows.jsonl").write_text("\n".join(json.dumps(message(n)) for n in range(3)))
    (project / "rows.json").write_text(json.dumps([message(n) for n in range(3, 5)]))
    (project / "rows.csv").write_text('\ufeffchannel,body,author,number,pinned\nnpx,"body, 5",a,5,\n', encoding="utf-8")
    (project / "bad.jsonl").write_text(json.dumps(message(6)) + "\n{oops\n")
    (project / "wrong.jsonl").write_text('{"channel": 7, "body": "x"}')
    (project / "empty.jsonl").write_text("")

    def bodies() -> list[str]:
        return deployment.query("messages:bodies", {"channel": "npx"})

    done = npx(project, deployment, "import", "--table", "messages", "rows.jsonl")
    assert done.returncode == 0, done.stderr
    assert 'Added 3 documents to table "messages"' in done.stderr
    done = npx(project, deployment, "import", "--table", "messages", "rows.json")
    assert done.returncode == 1
    assert "Table messages already exists. Please choose a new table name or use replace/append modes." in done.stderr
    assert npx(project, deployment, "import", "--table", "messages", "--append", "rows.json").returncode == 0
    assert bodies() == [f"body {n}" for n in range(5)]
    for file, text in (("bad.jsonl", "Row 2 wasn't valid JSON"), ("wrong.jsonl", "does not match the schema")):
        done = npx(project, deployment, "import", "--table", "messages", "--append", file)
        assert done.returncode == 1
        assert "Hit an error while importing:" in done.stderr
        assert text in done.stderr
    assert len(bodies()) == 5
    # Documents would be deleted: without -y somebody has to be asked.
    done = npx(project, deployment, "import", "--table", "messages", "--replace", "rows.csv")
    assert done.returncode == 1
    assert "Cannot prompt for input in non-interactive terminals" in done.stderr
    done = npx(project, deployment, "import", "--table", "messages", "--replace", "-y", "rows.csv")
    assert done.returncode == 0, done.stderr
    assert "messages | 1      | 5 of 5" in done.stderr
    assert bodies() == ["body, 5"]
    assert npx(project, deployment, "import", "--table", "messages", "--replace", "-y", "empty.jsonl").returncode == 0
    assert bodies() == []


def test_a_large_file_comes_in_parts(
    project: Path, deployment: ReactorProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """36"""
    monkeypatch.setenv("CONVEX_IMPORT_CHUNK_SIZE", str(100_000))
    text = "".join(json.dumps(message(n, body="x" * 300)) + "\n" for n in range(3_000))
    (project / "large.jsonl").write_text(text)
    assert len(text) > 10 * 100_000
    done = npx(project, deployment, "import", "--table", "messages", "--replace", "-y", "large.jsonl")
    assert done.returncode == 0, done.stderr
    assert deployment.query("messages:count", {"channel": "npx"}) == 3_000


def test_export_and_import_again(project: Path, deployment: ReactorProcess, tmp_path: Path) -> None:
    """42, 44, 46, 47"""
    (project / "rows.jsonl").write_text("\n".join(json.dumps(message(n)) for n in range(3)))
    assert npx(project, deployment, "import", "--table", "messages", "--replace", "-y", "rows.jsonl").returncode == 0
    url = deployment.mutation("files:generateUploadUrl", {})
    stored = httpx.post(url, content=b"file contents", headers={"Content-Type": "text/plain"}).json()["storageId"]
    (project / "out").mkdir()
    done = npx(project, deployment, "export", "--path", "out", "--include-file-storage")
    assert done.returncode == 0, done.stderr
    [archive] = (project / "out").iterdir()
    assert archive.name.startswith("snapshot_")
    assert archive.name.endswith(".zip")
    with zipfile.ZipFile(archive) as opened:
        assert opened.read(f"_storage/{stored}.txt") == b"file contents"
        assert opened.read("messages/documents.jsonl").count(b"\n") == 3
    deployment.mutation("messages:send", {"channel": "npx", "body": "later"})
    assert npx(project, deployment, "export", "--path", "second.zip").returncode == 0
    with zipfile.ZipFile(project / "second.zip") as opened:
        assert opened.read("messages/documents.jsonl").count(b"\n") == 4
    with running_server(tmp_path / "fresh") as fresh:
        done = npx(project, fresh, "import", "--replace-all", "-y", os.fspath(archive))
        assert done.returncode == 0, done.stderr
        assert fresh.query("messages:bodies", {"channel": "npx"}) == ["body 0", "body 1", "body 2"]
        assert npx(project, fresh, "export", "--path", "again.zip", "--include-file-storage").returncode == 0
    with zipfile.ZipFile(archive) as first, zipfile.ZipFile(project / "again.zip") as again:
        assert {name: first.read(name) for name in first.namelist()} == {n: again.read(n) for n in again.namelist()}


def test_one_shot_import_and_refusals(deployment: ReactorProcess) -> None:
    """41, 45, and keys: `POST /api/import`; each code; nothing without an admin key"""
    with httpx.Client(base_url=deployment.url, headers=ADMIN, timeout=60) as http:
        query = "tableName=items&format=jsonLines&mode=replace"
        row = json.dumps({"bucket": "b", "rank": 1, "label": "l"})
        assert http.post(f"/api/import?{query}", content=row).json() == {"numWritten": 1}
        refused = http.post("/api/import?tableName=items&format=jsonLines", content=row)
        assert (refused.status_code, refused.json()["code"]) == (400, "TableExists")
        assert http.post("/api/import?format=nonsense", content=row).status_code == 400
        assert http.post("/api/perform_import", json={"importId": "x"}).json()["code"] == "ImportNotWaiting"
        assert http.post("/api/import/upload_part?uploadToken=x&partNumber=1", content=b"").status_code == 400
        assert http.post("/api/import/finish_upload", content=b"{").json()["code"] == "BadJsonBody"
        missing = http.get("/api/export/zip/123")
        assert (missing.status_code, missing.json()["code"]) == (404, "ExportNotFound")
        assert http.post("/api/export/cancel/123").json()["code"] == "ExportNotInProgress"
    for method, path in (
        ("POST", "/api/import/start_upload"),
        ("POST", "/api/import?tableName=items&format=jsonLines&mode=replace"),
        ("POST", "/api/perform_import"),
        ("POST", "/api/cancel_import"),
        ("POST", "/api/export/request/zip"),
        ("GET", "/api/export/zip/1"),
        ("POST", "/api/export/set_expiration/1"),
    ):
        answer = httpx.request(method, deployment.url + path, content=b"")
        assert (answer.status_code, answer.json()["code"]) == (403, "BadDeployKey"), path
