"""Engine rule 20: a mutation that ends the process twice is not run a third time."""

from __future__ import annotations

from pathlib import Path

import pytest

from reactor.errors import FunctionError
from reactor.runtime.poison import FILE, SUSPECTS_MAX, PoisonGuard


def die(guard: PoisonGuard) -> None:
    """What a kill leaves behind: the mark as it is."""
    guard.close()


def test_a_mutation_found_running_twice_is_refused(tmp_path: Path) -> None:
    for _ in range(2):
        guard = PoisonGuard(tmp_path)
        guard.enter("session", 7)
        die(guard)
    guard = PoisonGuard(tmp_path)
    with pytest.raises(FunctionError, match="not run again"):
        guard.enter("session", 7)
    guard.enter("session", 8)
    guard.enter("other", 7)
    die(guard)


def test_one_that_ends_leaves_no_mark(tmp_path: Path) -> None:
    for _ in range(3):
        guard = PoisonGuard(tmp_path)
        guard.enter("session", 7)
        guard.leave()
        die(guard)


def test_one_that_survives_is_cleared_of_suspicion(tmp_path: Path) -> None:
    guard = PoisonGuard(tmp_path)
    guard.enter("session", 7)
    die(guard)
    guard = PoisonGuard(tmp_path)
    guard.enter("session", 7)
    guard.leave()
    guard.survived("session", 7)
    guard.enter("session", 7)
    die(guard)
    guard = PoisonGuard(tmp_path)
    guard.enter("session", 7)  # once again only
    guard.close()


def test_session_names_of_any_length_and_letters_are_told_apart_by_request(tmp_path: Path) -> None:
    session = "\u00e9\U0001f600" * 500
    for _ in range(2):
        guard = PoisonGuard(tmp_path)
        guard.enter(session, 1)
        die(guard)
    guard = PoisonGuard(tmp_path)
    with pytest.raises(FunctionError):
        guard.enter(session, 1)
    guard.enter(session, 2)
    guard.close()


def test_the_list_of_suspects_is_bounded_and_survives_nonsense_in_the_file(tmp_path: Path) -> None:
    for number in range(SUSPECTS_MAX + 10):
        guard = PoisonGuard(tmp_path)
        guard.enter("s", number)
        die(guard)
    assert (tmp_path / FILE).stat().st_size == 64 * 1024
    (tmp_path / FILE).write_bytes(b"\xff" * 64 * 1024)
    guard = PoisonGuard(tmp_path)
    guard.enter("s", 1)
    guard.close()
