"""An app's functions as the nested objects that `api` and `internal` are: modules in modules, functions in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from reactor.runtime.registry import RegisteredFunction

__all__ = ["ModuleNode", "function_tree"]


@dataclass(slots=True)
class ModuleNode:
    """One object: its functions and the objects below it, by wire name."""

    functions: dict[str, RegisteredFunction] = field(default_factory=dict)
    modules: dict[str, ModuleNode] = field(default_factory=dict)


def function_tree(functions: Iterable[RegisteredFunction]) -> ModuleNode:
    """`folder/messages:list` stands at `folder` → `messages` → `list`, everything in the order given."""
    root = ModuleNode()
    for fn in functions:
        node = root
        for part in fn.module.split("/"):
            node = node.modules.setdefault(part, ModuleNode())
        node.functions[fn.name] = fn
    return root
