"""Settings: where they come from, which source wins, and how a wrong one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.config import ConfigError, Settings, load_settings
from reactor.limits import Limits


def load(tmp_path: Path, toml: str = "", env: dict[str, str] | None = None, **flags: object) -> Settings:
    (tmp_path / "pyproject.toml").write_text(toml)
    return load_settings(tmp_path, flags=flags, environ=env or {})


def test_without_any_source_the_defaults_hold_and_data_lives_in_the_app(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert (settings.host, settings.port, settings.site_port) == ("127.0.0.1", 3210, 3211)
    assert settings.app == tmp_path
    assert settings.data == tmp_path / ".reactor"
    assert settings.synchronous == "FULL"


def test_a_flag_wins_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    toml = '[tool.reactor]\nport = 1000\nsite_port = 1001\nhost = "file"\n'
    env = {"REACTOR_PORT": "2000", "REACTOR_SITE_PORT": "2001"}
    settings = load(tmp_path, toml, env, port=3000)
    assert (settings.port, settings.site_port, settings.host) == (3000, 2001, "file")


def test_a_flag_that_was_not_given_does_not_count(tmp_path: Path) -> None:
    assert load(tmp_path, "[tool.reactor]\nport = 1000", {}, port=None).port == 1000


def test_the_nearest_pyproject_above_the_app_is_read(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.reactor]\ndata = "state"\n')
    app = tmp_path / "backend"
    app.mkdir()
    settings = load_settings(app, environ={})
    assert settings.data == tmp_path / "state", "paths in a file are relative to it"
    assert settings.app == app


def test_the_file_may_name_the_app(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[tool.reactor]\napp = "backend"\n')
    settings = load_settings(cwd=tmp_path, environ={})
    assert settings.app == tmp_path / "backend"
    assert settings.data == tmp_path / "backend" / ".reactor"


def test_paths_in_flags_and_variables_are_relative_to_the_working_directory(tmp_path: Path) -> None:
    assert load_settings("app", environ={"REACTOR_DATA": "x"}, cwd=tmp_path).data == tmp_path / "x"
    assert load_settings("app", flags={"data": Path("y")}, environ={}, cwd=tmp_path).data == tmp_path / "y"


def test_several_admin_keys_are_taken_from_each_source(tmp_path: Path) -> None:
    assert load(tmp_path, env={"REACTOR_ADMIN_KEY": "a|1 b"}).admin_keys == ("a|1", "b")
    assert load(tmp_path, '[tool.reactor]\nadmin_keys = ["a", "b c"]').admin_keys == ("a", "b c")
    assert load(tmp_path, admin_keys=("any string: even this",)).admin_keys == ("any string: even this",)


def test_limits_are_set_one_by_one(tmp_path: Path) -> None:
    toml = "[tool.reactor.limits]\nuser_time_s = 2.5\ndocuments_read = 7\n"
    limits = load(tmp_path, toml, {"REACTOR_LIMITS_DOCUMENTS_READ": "8"}).limits
    assert (limits.user_time_s, limits.documents_read) == (2.5, 8)
    assert limits.documents_written == 16_000


def test_code_gives_limits_whole_or_in_part(tmp_path: Path) -> None:
    toml = "[tool.reactor.limits]\ndocuments_read = 7\n"
    assert load(tmp_path, toml, limits={"user_time_s": 2}).limits == Limits(documents_read=7, user_time_s=2)
    assert load(tmp_path, toml, limits=Limits(user_time_s=2)).limits == Limits(user_time_s=2)
    with pytest.raises(ConfigError, match="there is no limit 'nope'"):
        load(tmp_path, limits={"nope": 1})
    with pytest.raises(ConfigError, match="limits must be a Limits or a mapping"):
        load(tmp_path, limits=3)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("Yes", True), ("off", False), ("0", False)])
def test_booleans_in_variables_are_written_in_the_usual_ways(tmp_path: Path, text: str, value: bool) -> None:
    assert load(tmp_path, env={"REACTOR_MANUAL_CLOCK": text}).manual_clock is value


@pytest.mark.parametrize(
    ("toml", "env", "flags", "message"),
    [
        ("", {}, {"port": 70000}, "--port must be a port number (0 to 65535), not 70000"),
        ("", {"REACTOR_PORT": "many"}, {}, "REACTOR_PORT must be a port number (0 to 65535), not 'many'"),
        ("[tool.reactor]\nport = true", {}, {}, "port in [tool.reactor] of {toml} must be a port number"),
        ('[tool.reactor]\nport = "3210"', {}, {}, ""),
        ("[tool.reactor]\nprot = 1", {}, {}, "there is no setting 'prot'. Did you mean 'port'?"),
        ("[tool.reactor]\nzzz = 1", {}, {}, "there is no setting 'zzz'. Settings are: admin_keys, app"),
        ('[tool.reactor]\nadmin_keys = [""]', {}, {}, "admin_keys in [tool.reactor] of {toml} must be a list of texts"),
        ("", {}, {"admin_keys": ("", "x")}, "--admin-key must be a list of texts"),
        ("", {"REACTOR_SYNCHRONOUS": "maybe"}, {}, "REACTOR_SYNCHRONOUS must be FULL, NORMAL or OFF"),
        ("", {"REACTOR_READERS": "0"}, {}, "REACTOR_READERS must be a number of threads (1 to 64), not '0'"),
        ("", {"REACTOR_STOP_GRACE_S": "-1"}, {}, "REACTOR_STOP_GRACE_S must be a number of seconds"),
        ("", {"REACTOR_STOP_GRACE_S": "nan"}, {}, "REACTOR_STOP_GRACE_S must be a number of seconds"),
        ("", {"REACTOR_LIMITS_USER_TIME_S": "0"}, {}, "REACTOR_LIMITS_USER_TIME_S must be a number above 0"),
        ("[tool.reactor.limits]\nlog_line = 3", {}, {}, "there is no limit 'log_line'. Did you mean 'log_lines'?"),
        ("[tool.reactor.limits]\nlog_lines = 1.5", {}, {}, "must be a whole number above 0, not 1.5"),
        ("[tool.reactor]\nlimits = 3", {}, {}, "limits in [tool.reactor] of {toml} must be a table"),
        ("[tool]\nreactor = 3", {}, {}, "[tool.reactor] in {toml} must be a table"),
        ("[tool.reactor", {}, {}, "{toml} can't be read"),
    ],
)
def test_a_wrong_setting_names_its_source_and_what_is_wanted(
    tmp_path: Path, toml: str, env: dict[str, str], flags: dict[str, object], message: str
) -> None:
    if not message:
        assert load(tmp_path, toml, env, **flags).port == 3210  # a number in quotes is still a number
        return
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, toml, env, **flags)
    assert message.format(toml=tmp_path / "pyproject.toml") in str(caught.value)


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    assert load(tmp_path, env={"REACTOR_COLOUR_OF_MY_APP": "blue", "REACTOR_FAULTS": "x=kill"}) == load(tmp_path)


def test_settings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Settings().port = 1  # type: ignore[misc]
