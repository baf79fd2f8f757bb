"""Backups are whole or refused: what the manifest does not vouch for is never taken."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from reactor.store.backup_archive import DATABASE, ArchiveWriter, BadBackup, Manifest, read_archive

BLOB = "files/" + "ab" * 16


def write(path: Path, **contents: bytes) -> None:
    archive = ArchiveWriter()
    with path.open("wb") as file:
        for name, data in {DATABASE: b"database" * 1000, BLOB: b"", **contents}.items():
            file.write(archive.begin(name, compress=name == DATABASE))
            for at in range(0, len(data), 1000):
                file.write(archive.write(data[at : at + 1000]))
            file.write(archive.end())
        file.write(archive.finish(ts=7, version="1"))


def read(path: Path) -> tuple[Manifest, dict[str, bytes]]:
    found: dict[str, bytes] = {}

    def sink(name: str, pieces: Iterator[bytes]) -> None:
        found[name] = b"".join(pieces)

    return read_archive(path, sink), found


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    write(tmp_path / "a.zip")
    manifest, found = read(tmp_path / "a.zip")
    assert (manifest.ts, manifest.version) == (7, "1")
    assert found == {DATABASE: b"database" * 1000, BLOB: b""}


def test_the_same_contents_give_the_same_bytes(tmp_path: Path) -> None:
    write(tmp_path / "a.zip")
    write(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_what_is_missing_or_changed_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    write(path)
    whole, contents = path.read_bytes(), read(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(BadBackup):
            read(path)
    refused = 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        try:
            assert read(path) == contents  # zip repeats itself, and deflate has bits that mean nothing
        except BadBackup:
            refused += 1
    assert refused > len(whole) / 2


def test_a_manifest_that_says_otherwise_is_not_believed(tmp_path: Path) -> None:
    """Whoever rewrites the zip rewrites its checksums; the digests are looked at as well."""
    write(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip") as old, zipfile.ZipFile(tmp_path / "b.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b"database", b"databank") if name == DATABASE else old.read(name))
    with pytest.raises(BadBackup, match=r"data\.sqlite3 in the backup is damaged"):
        read(tmp_path / "b.zip")


@pytest.mark.parametrize(
    ("manifest", "text"),
    [
        (b"{}", "the manifest can't be read"),
        (b"[", "the manifest can't be read"),
        (msgspec.json.encode({"format": 99, "ts": 1, "version": "9.9", "entries": {}}), "a newer reactor"),
        (msgspec.json.encode({"ts": 1, "version": "1", "entries": {}}), "no database"),
    ],
)
def test_manifests_of_other_kinds_are_refused(tmp_path: Path, manifest: bytes, text: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("manifest.json", manifest)
    with pytest.raises(BadBackup, match=text):
        read(tmp_path / "a.zip")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"not a zip")
    with pytest.raises(BadBackup, match="is not a whole backup"):
        read(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("other", b"")
    with pytest.raises(BadBackup, match="is not a whole backup"):
        read(tmp_path / "b.zip")
