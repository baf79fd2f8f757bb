"""The admin key that is made: what the data keeps of it, where the user finds it, and how it is replaced."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from reactor.auth.kept_key import (
    HASH_FILE,
    PLAIN_FILE,
    KeptAdminKey,
    NoAdminKey,
    find_key,
    make_key,
    migrate_key,
    provide_key,
)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def everything_in(directory: Path) -> str:
    return "\n".join(file.read_text() for file in directory.rglob("*") if file.is_file())


def test_the_data_keeps_only_a_hash_and_the_user_the_key(home: Path, data: Path) -> None:
    made = provide_key(data, "shop")
    assert made.is_new
    assert made.key is not None
    name, _, secret = made.key.partition("|")
    assert (name, len(secret)) == ("shop", 64)
    assert secret not in everything_in(data)
    assert [file.name for file in data.iterdir()] == [HASH_FILE]
    assert made.path is not None
    assert made.path.is_relative_to(home)
    assert made.key in made.path.read_text()
    assert stat.S_IMODE(made.path.stat().st_mode) == stat.S_IMODE((data / HASH_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    again = provide_key(data, "shop")
    assert (again.key, again.path, again.is_new) == (made.key, made.path, False)


def test_the_key_is_found_wherever_the_data_moves_to(home: Path, data: Path) -> None:
    made = provide_key(data, "shop")
    moved = data.rename(data.with_name("elsewhere"))
    assert find_key(moved).key == made.key


def test_somebody_else_can_not_look_it_up(
    home: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = provide_key(data, "shop")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "theirs"))
    there = provide_key(data, "shop")
    assert (there.key, there.path, there.hash) == (None, None, made.hash)
    assert KeptAdminKey(data).accepts(made.key or "")


def test_only_that_key_opens(home: Path, data: Path) -> None:
    key = provide_key(data, "shop").key or ""
    keys = KeptAdminKey(data)
    assert keys.accepts(key)
    assert keys.accepts(f"prod:{key}")
    for wrong in ("", "shop|", key[:-1], key + "0", find_key(data).hash, f"shop|{find_key(data).hash}"):
        assert not keys.accepts(wrong)


def test_a_new_key_counts_at_once_and_the_old_one_no_more(home: Path, data: Path) -> None:
    old = provide_key(data, "shop").key or ""
    keys = KeptAdminKey(data)
    assert keys.accepts(old)
    new = make_key(data, "shop").key or ""
    assert not keys.accepts(old)
    assert keys.accepts(new)
    assert find_key(data).key == new


def test_what_happens_to_the_file_never_opens_a_running_server(home: Path, data: Path) -> None:
    key = provide_key(data, "shop").key or ""
    keys = KeptAdminKey(data)
    assert keys.accepts(key)
    for damaged in ("", "not a hash", "00"):
        (data / HASH_FILE).write_text(damaged)
        assert keys.accepts(key)
        assert not keys.accepts("")
        assert not KeptAdminKey(data).accepts(key), "and one that starts knows nobody"
        with pytest.raises(NoAdminKey, match="damaged"):
            find_key(data)
    (data / HASH_FILE).unlink()
    assert keys.accepts(key)
    assert not keys.accepts("x")


def test_a_key_in_plain_text_is_migrated(home: Path, data: Path) -> None:
    (data / PLAIN_FILE).write_text("reactor|of the first version\n")
    kept = provide_key(data, "reactor")
    assert kept.key == "reactor|of the first version"
    assert [file.name for file in data.iterdir()] == [HASH_FILE]
    assert "first version" not in everything_in(data)
    assert KeptAdminKey(data).accepts("reactor|of the first version")
    assert find_key(data).key == kept.key
    assert migrate_key(data) is None


def test_an_empty_plain_file_is_no_key(home: Path, data: Path) -> None:
    (data / PLAIN_FILE).write_text("\n")
    with pytest.raises(NoAdminKey, match="is empty"):
        provide_key(data, "reactor")


@pytest.mark.parametrize("obstacle", ["a file", "no home"])
def test_without_a_place_to_keep_it_the_key_is_made_all_the_same(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    if obstacle == "a file":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    else:
        monkeypatch.delenv("XDG_CONFIG_HOME")

        def no_home() -> Path:
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(Path, "home", no_home)
    made = provide_key(data, "shop")
    assert made.key is not None
    assert (made.path, made.is_new) == (None, True)
    assert made.problem
    assert KeptAdminKey(data).accepts(made.key)
    assert find_key(data).key is None
