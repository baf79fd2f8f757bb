"""The arguments of one handler: the one object on the wire ↔ keyword arguments in Python."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from reactor.errors import InvalidArguments, InvalidValue
from reactor.schema.codec import Codec
from reactor.schema.dumping import dump
from reactor.schema.naming import camel, did_you_mean
from reactor.schema.struct_shapes import StructShape
from reactor.schema.validators import Resolver, Validator
from reactor.values import wire
from reactor.values.types import UNSET

__all__ = ["ArgumentsCodec"]


class ArgumentsCodec:
    """The arguments of one handler: wire object ↔ keyword arguments."""

    def __init__(
        self,
        validator: Validator,
        shape: StructShape | None,
        parameters: Mapping[str, str],
        *,
        positional: tuple[str, ...] = (),
        free: bool = False,
        where: str = "",
    ) -> None:
        self.validator = validator
        self._shape = shape
        self._codec = None if shape is None else Codec(shape)
        self._struct: Any = None if shape is None else shape.cls
        self._fields = {} if shape is None else {f.field.wire: f.field for f in shape.fields}
        self._wire_of = dict(parameters)
        self._name_of: dict[str, str] = {wire_name: name for name, wire_name in parameters.items()}
        self._positional = positional
        self._free = free
        self._where = where

    @property
    def parameters(self) -> Mapping[str, str]:
        """Python name → wire name, in the order of the signature."""
        return self._wire_of

    def decode(self, raw: bytes, resolve: Resolver | None) -> dict[str, Any]:
        """The wire object → keyword arguments for the handler. Raises InvalidArguments."""
        try:
            if self._codec is not None:
                return msgspec.structs.asdict(self._codec.decode(raw, resolve))
            value = self._check(wire.decode(raw), resolve)
        except InvalidArguments:
            raise
        except InvalidValue as error:
            if not error.path and raw.lstrip()[:1] != b"{":
                raise _not_an_object(raw) from None
            raise _as_arguments(error) from None
        return {self._name_of.get(name, name): item for name, item in value.items()}

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], resolve: Resolver | None) -> bytes:
        """The arguments of a Python call (the context not among them) → the wire object. Raises InvalidArguments."""
        if args:
            kwargs = self._bind(args, kwargs)
        if self._codec is not None and not kwargs.keys() - self._wire_of.keys():
            try:
                return self._codec.encode(self._struct(**kwargs), resolve)
            except TypeError:  # something is missing: the tree says what
                pass
            except InvalidValue as error:
                raise _as_arguments(error) from None
        return self._encode({self._wire_name(name): item for name, item in kwargs.items()}, resolve)

    def encode_unchecked(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """Like `encode`, but whether the values fit is left to who decodes them. Raises InvalidArguments."""
        if args:
            kwargs = self._bind(args, kwargs)
        return self._encode({self._wire_name(name): item for name, item in kwargs.items()}, None, check=False)

    def encode_mapping(self, mapping: Mapping[str, Any], resolve: Resolver | None, *, check: bool = True) -> bytes:
        """A mapping keyed by wire names or by parameter names → the wire object. Raises InvalidArguments."""
        if not isinstance(mapping, Mapping):
            raise InvalidArguments(
                f"The arguments to a function must be an object. Received: {type(mapping).__name__}",
                expected="object",
                got=type(mapping).__name__,
            )
        named: dict[str, Any] = {}
        for name, item in mapping.items():
            wire_name = name if name in self._name_of else self._wire_name(name, unknown=name)
            if wire_name in named:
                raise InvalidArguments(
                    f"{self._where}: the argument `{wire_name}` is given twice.", path=f".{wire_name}"
                )
            named[wire_name] = item
        return self._encode(named, resolve, check=check)

    def _encode(self, named: Mapping[str, Any], resolve: Resolver | None, *, check: bool = True) -> bytes:
        tree: dict[str, Any] = {}
        for name, item in named.items():
            known = self._fields.get(name)
            if item is not UNSET and not (item is None and known is not None and known.absent == "none"):
                tree[name] = item
        try:
            tree = dump(tree)
            raw = wire.encode(tree)
            if check:
                self._check(tree, resolve)
        except InvalidArguments:
            raise
        except InvalidValue as error:
            raise _as_arguments(error) from None
        return raw

    def _check(self, value: Any, resolve: Resolver | None) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _not_an_object(wire.encode(value))
        self.validator.check(value, resolve, error=InvalidArguments)
        return value

    def _bind(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        if len(args) > len(self._positional):
            raise InvalidArguments(
                f"{self._where} takes {len(self._positional)} positional arguments but {len(args)} were given."
            )
        bound = dict(zip(self._positional, args, strict=False))
        for name, item in kwargs.items():
            if name in bound:
                raise InvalidArguments(f"{self._where} got several values for the argument {name!r}.", path=f".{name}")
            bound[name] = item
        return bound

    def _wire_name(self, name: str, unknown: str | None = None) -> str:
        found = self._wire_of.get(name)
        if found is not None:
            return found
        if self._free:
            return name
        if unknown is not None and camel(name) in self._name_of:
            return camel(name)
        hint = did_you_mean(name, self._wire_of)
        known = ", ".join(self._wire_of) or "none"
        raise InvalidArguments(
            f"{self._where} has no parameter {name!r}.{hint} Its parameters: {known}.", path=f".{name}"
        )


def _not_an_object(raw: bytes) -> InvalidArguments:
    shown = raw[:200].decode(errors="replace")
    return InvalidArguments(
        f"Expected to receive an object as the function's argument. Instead received: {shown}",
        expected="object",
        got=shown,
    )


def _as_arguments(error: InvalidValue) -> InvalidArguments:
    return InvalidArguments(str(error), path=error.path, expected=error.expected, got=error.got)
