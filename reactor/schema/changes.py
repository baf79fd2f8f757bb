"""What changes between two schemas: whether old documents surely fit a new validator, and which indexes come and go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from reactor.schema.indexes import AnyIndexDefinition
from reactor.schema.validators import (
    AnyValue,
    Array,
    Boolean,
    Float64,
    IdOf,
    Int64Value,
    LiteralValue,
    Object,
    Record,
    String,
    Union,
    Validator,
)
from reactor.values.types import Int64

__all__ = ["IndexChanges", "index_changes", "is_subset"]


def is_subset(old: Validator, new: Validator) -> bool:
    """Whether every value that fits `old` surely fits `new`: then a deploy need not look at the documents.

    False may mean "not sure": a union that only covers the old validator by several of its members together is one.
    """
    if isinstance(new, AnyValue):
        return True
    if isinstance(old, Union):
        return all(is_subset(member, new) for member in old.members)
    if isinstance(new, Union):
        return any(is_subset(old, member) for member in new.members) or _both_booleans(old, new)
    if isinstance(old, LiteralValue):
        return _literal_fits(old, new)
    if isinstance(old, IdOf):
        return isinstance(new, String) or old == new
    if isinstance(old, Float64) and isinstance(new, Float64):
        return old.integral or not new.integral
    if isinstance(old, Array) and isinstance(new, Array):
        return is_subset(old.element, new.element)
    if isinstance(old, Record) and isinstance(new, Record):
        return is_subset(old.keys, new.keys) and is_subset(old.values, new.values)
    if isinstance(old, Object):
        return _object_fits(old, new)
    return old == new


def _both_booleans(old: Validator, new: Union) -> bool:
    values = {m.value for m in new.members if isinstance(m, LiteralValue) and isinstance(m.value, bool)}
    return isinstance(old, Boolean) and values == {True, False}


def _literal_fits(old: LiteralValue, new: Validator) -> bool:
    value = old.value
    if isinstance(new, Float64) and isinstance(value, (int, float)) and not isinstance(value, (bool, Int64)):
        return new.accepts(value)
    if isinstance(new, Int64Value):
        return isinstance(value, Int64)
    if isinstance(new, Boolean):
        return isinstance(value, bool)
    if isinstance(new, String):
        return isinstance(value, str)
    return old == new


def _object_fits(old: Object, new: Validator) -> bool:
    if isinstance(new, Record):
        return all(
            is_subset(LiteralValue(name), new.keys) and is_subset(validator, new.values)
            for name, (validator, _) in old.fields.items()
        )
    if not isinstance(new, Object):
        return False
    for name, (validator, optional) in old.fields.items():
        entry = new.fields.get(name)
        if entry is None or not is_subset(validator, entry[0]) or (optional and not entry[1]):
            return False
    return all(optional or name in old.fields for name, (_, optional) in new.fields.items())


@dataclass(frozen=True, slots=True)
class IndexChanges:
    """What a deploy does to the indexes of one table."""

    added: tuple[AnyIndexDefinition, ...]
    removed: tuple[AnyIndexDefinition, ...]
    enabled: tuple[AnyIndexDefinition, ...]
    """Were staged, are not any more: usable without being built again."""
    disabled: tuple[AnyIndexDefinition, ...]
    """Are staged now, were not."""


def index_changes(old: Iterable[AnyIndexDefinition], new: Iterable[AnyIndexDefinition]) -> IndexChanges:
    """Compare by name and content. An index with other fields than before is removed and added."""
    before, after = {index.name: index for index in old}, {index.name: index for index in new}
    added, enabled, disabled = [], [], []
    kept: set[str] = set()
    for name, index in after.items():
        was = before.get(name)
        if was is None or not _same_content(was, index):
            added.append(index)
            continue
        kept.add(name)
        if was.staged and not index.staged:
            enabled.append(index)
        elif index.staged and not was.staged:
            disabled.append(index)
    removed = [index for name, index in before.items() if name not in kept]
    return IndexChanges(tuple(added), tuple(removed), tuple(enabled), tuple(disabled))


def _same_content(a: AnyIndexDefinition, b: AnyIndexDefinition) -> bool:
    if type(a) is not type(b):
        return False
    fields = [name for name in type(a).__dataclass_fields__ if name != "staged"]
    return all(getattr(a, name) == getattr(b, name) for name in fields)
