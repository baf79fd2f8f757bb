"""Validators of whole documents: what may stand at the top of a table, with and without the two system fields."""

from __future__ import annotations

from typing import Final

from reactor.errors import SchemaError
from reactor.schema.validators import AnyValue, Float64, IdOf, Object, Union, Validator

__all__ = [
    "SYSTEM_WIRE_NAMES",
    "check_top_level",
    "field_names",
    "is_open",
    "with_system_fields",
    "without_system_fields",
]

SYSTEM_WIRE_NAMES: Final = ("_id", "_creationTime")


def check_top_level(validator: Validator, table: str) -> None:
    members = validator.members if isinstance(validator, Union) else (validator,)
    if isinstance(validator, AnyValue) or (members and all(isinstance(member, Object) for member in members)):
        for member in members:
            for name in field_names(member):
                if name.startswith("_") and name not in SYSTEM_WIRE_NAMES:
                    raise SchemaError(
                        f"Table \"{table}\": Field '{name}' starts with an underscore, which is only allowed for system "
                        "fields like '_id'",
                        code="ReservedFieldName",
                    )
        return
    raise SchemaError(
        "The document validator in a schema must be an object, a union of objects, or `v.any()`. "
        f'Found {validator.render()} in table "{table}".',
        code="InvalidTopLevelTypeInSchemaError",
    )


def with_system_fields(validator: Validator, table: str) -> Validator:
    if isinstance(validator, Object):
        system: dict[str, tuple[Validator, bool]] = {"_id": (IdOf(table), False), "_creationTime": (Float64(), False)}
        return Object({**validator.fields, **system})
    if isinstance(validator, Union):
        return Union(tuple(with_system_fields(member, table) for member in validator.members))
    return validator


def without_system_fields(validator: Validator) -> Validator:
    if isinstance(validator, Object):
        return validator.omit(*SYSTEM_WIRE_NAMES)
    if isinstance(validator, Union):
        return Union(tuple(without_system_fields(member) for member in validator.members))
    return validator


def field_names(validator: Validator) -> list[str]:
    if isinstance(validator, Object):
        return list(validator.fields)
    if isinstance(validator, Union):
        return list(dict.fromkeys(name for member in validator.members for name in field_names(member)))
    return []


def is_open(validator: Validator) -> bool:
    if isinstance(validator, Union):
        return any(map(is_open, validator.members))
    return isinstance(validator, AnyValue)
