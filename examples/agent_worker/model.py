"""What builds the apps: an interface, and a stand-in that needs no network and no key.

To put a real model behind it, write a class with a `build` that calls the model, hands the text to `report` as it comes,
and returns the files.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Task:
    """What a user asks for. `files` is what there is so far, text by path; `model` is a wish of theirs."""

    value: str
    framework: str
    files: dict[str, str]
    model: str | None = None


@dataclass(frozen=True)
class Answer:
    """What was built: a summary for the user, and all the files."""

    summary: str
    files: dict[str, str]


class ModelError(Exception):
    """The model can't do it; its text is shown to the user."""


class Model(Protocol):
    def build(self, task: Task, report: Callable[[str], None]) -> Answer:
        """Build it. `report` takes the whole text so far, as often as there is more. Raises ModelError.

        Report every few minutes at least: a worker that falls silent is taken for dead, and its run fails.
        """
        ...


class LocalModel:
    """Always builds the same from the same, word by word. A request that begins with `fail:` fails."""

    def __init__(self, pause_s: float = 0.05) -> None:
        self._pause_s = pause_s

    def build(self, task: Task, report: Callable[[str], None]) -> Answer:
        if task.value.startswith("fail:"):
            raise ModelError(task.value.removeprefix("fail:").strip())
        words = f"I am building {task.value} with {task.framework}.".split()
        for count in range(1, len(words) + 1):
            report(" ".join(words[:count]))
            time.sleep(self._pause_s)
        files = {**task.files, f"requests/{len(task.files) + 1}.md": f"# {task.value}\n"}
        return Answer(summary=f"Built {task.value}: {len(files)} files.", files=files)
