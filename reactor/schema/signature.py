"""A handler's signature → the codecs of its arguments and of its result.

The arguments are one object on the wire. They are read through a struct class made for the handler, so names, defaults
and optional fields follow exactly the rules of structs.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from reactor.errors import InvalidArguments, InvalidValue, SchemaError
from reactor.schema.annotations import TypeReader
from reactor.schema.codec import Codec
from reactor.schema.hints import Scope, signature_hints
from reactor.schema.naming import camel, did_you_mean, refuse_collisions
from reactor.schema.shapes import AnyShape, ValidatorShape
from reactor.schema.structs import Struct
from reactor.schema.validators import AnyValue, Object, OptionalField, Resolver, Validator, object_fields
from reactor.values import wire
from reactor.values.types import UNSET

__all__ = ["ArgumentsCodec", "arguments_of", "check_handler", "returns_of"]

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EMPTY: Final = inspect.Parameter.empty


def check_handler(handler: Callable[..., Any]) -> None:
    """Raise SchemaError for a handler that can never work, as far as it shows without its types."""
    name = getattr(handler, "__qualname__", repr(handler))
    inner = inspect.unwrap(handler)
    if inspect.isasyncgenfunction(inner):
        raise SchemaError(f"{name}: a handler returns its result; `yield` makes it a generator. Collect into a list.")
    if not inspect.iscoroutinefunction(inner):
        raise SchemaError(f"{name} must be a coroutine: write `async def {getattr(handler, '__name__', name)}(ctx, …)`.")
    parameters = list(inspect.signature(inner).parameters.values())
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise SchemaError(f"{name} needs the context as its first parameter: `async def {handler.__name__}(ctx, …)`.")


class ArgumentsCodec:
    """The arguments of one handler: wire object ↔ keyword arguments."""

    def __init__(
        self,
        validator: Validator,
        codec: Codec | None,
        parameters: Mapping[str, str],
        *,
        positional: tuple[str, ...] = (),
        free: bool = False,
        where: str = "",
    ) -> None:
        self.validator = validator
        self._codec = codec
        self._struct: Any = None if codec is None else codec.shape.cls  # type: ignore[attr-defined]
        self._wire_of = dict(parameters)
        self._name_of = {wire: name for name, wire in parameters.items()}
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
            value = wire.decode(raw)
            self._check(value, resolve)
        except InvalidArguments:
            raise
        except InvalidValue as error:
            raise _as_arguments(error) from None
        return {self._name_of.get(name, name): item for name, item in value.items()}  # type: ignore[union-attr]

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

    def encode_mapping(self, mapping: Mapping[str, Any], resolve: Resolver | None) -> bytes:
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
                raise InvalidArguments(f"{self._where}: the argument `{wire_name}` is given twice.", path=f".{wire_name}")
            named[wire_name] = item
        return self._encode(named, resolve)

    def _encode(self, named: Mapping[str, Any], resolve: Resolver | None) -> bytes:
        tree: dict[str, Any] = {}
        fields = {} if self._codec is None else {f.field.wire: f.field for f in self._codec.shape.fields}  # type: ignore[attr-defined]
        for name, item in named.items():
            known = fields.get(name)
            if item is UNSET or (item is None and known is not None and known.absent == "none"):
                continue
            tree[name] = _codec_dump(item)
        try:
            raw = wire.encode(tree)
            self._check(tree, resolve)
        except InvalidArguments:
            raise
        except InvalidValue as error:
            raise _as_arguments(error) from None
        return raw

    def _check(self, value: Any, resolve: Resolver | None) -> None:
        if not isinstance(value, dict):
            raise InvalidArguments(
                "Expected to receive an object as the function's argument. Instead received: "
                f"{wire.encode(value).decode()[:200]}",
                expected="object",
                got=type(value).__name__,
            )
        self.validator.check(value, resolve, error=InvalidArguments)

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
        raise InvalidArguments(f"{self._where} has no parameter {name!r}.{hint} Its parameters: {known}.", path=f".{name}")


def _codec_dump(item: Any) -> Any:
    return _ANY.dump(item)


_ANY: Final = Codec(AnyShape())


def _as_arguments(error: InvalidValue) -> InvalidArguments:
    return InvalidArguments(str(error), path=error.path, expected=error.expected, got=error.got)


def arguments_of(
    handler: Callable[..., Any],
    args: Mapping[str, Validator | OptionalField] | Validator | None = None,
    *,
    reader: TypeReader,
    skip: int = 1,
) -> ArgumentsCodec:
    """The codec of a handler's arguments, from its annotations or from explicit validators.

    `skip` parameters in front (the context) are not arguments. Raises SchemaError.
    """
    signature, scope = signature_hints(handler)
    parameters = list(signature.parameters.values())[skip:]
    if args is not None:
        return _explicit(parameters, args, scope)
    where = scope.where
    for parameter in parameters:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise SchemaError(
                f"{where}: {stars}{parameter.name} does not say which arguments there are; write one parameter each, "
                "or give validators with args={…}."
            )
    names = {parameter.name: camel(parameter.name) for parameter in parameters}
    refuse_collisions(list(names.items()), where)
    struct = _arguments_struct(scope, parameters, reader)
    codec = Codec(reader.struct(struct))
    positional = tuple(parameter.name for parameter in parameters if parameter.kind in _POSITIONAL)
    return ArgumentsCodec(codec.validator, codec, names, positional=positional, where=where)


def _arguments_struct(scope: Scope, parameters: list[inspect.Parameter], reader: TypeReader) -> type[Struct]:
    hints: dict[str, Any] = {}
    body: dict[str, Any] = {"__module__": "reactor.arguments", "__qualname__": scope.where}
    for parameter in parameters:
        place = scope.at(f"{scope.where}({parameter.name})")
        hint = Any if parameter.annotation is _EMPTY else reader.evaluate(parameter.annotation, place)
        hints[parameter.name] = hint
        if parameter.default is not _EMPTY:
            body[parameter.name] = parameter.default
    body["__annotations__"] = hints
    struct = types.new_class("Arguments", (Struct,), {}, lambda namespace: namespace.update(body))
    struct._reactor_locals = dict(scope.local_names or {})  # pyright: ignore
    struct._reactor_globals = scope.names  # pyright: ignore
    return struct


def _explicit(
    parameters: list[inspect.Parameter], args: Mapping[str, Validator | OptionalField] | Validator, scope: Scope
) -> ArgumentsCodec:
    if isinstance(args, Validator):
        validator = args
    elif isinstance(args, Mapping):
        validator = Object(object_fields(args))
    else:
        raise SchemaError(f"{scope.where}: args is a dict of validators, not {args!r}.")
    if not isinstance(validator, (Object, AnyValue)):
        raise SchemaError(f"{scope.where}: Args validator must be an object or any, not {validator.render()}")
    free = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    named = [p for p in parameters if p.kind not in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)]
    if isinstance(validator, AnyValue):
        return ArgumentsCodec(
            validator,
            None,
            {p.name: camel(p.name) for p in named},
            positional=tuple(p.name for p in named),
            free=True,
            where=scope.where,
        )
    names: dict[str, str] = {}
    for p in named:
        wire_name = p.name if p.name in validator.fields else camel(p.name)
        if wire_name in validator.fields:
            names[p.name] = wire_name
        elif p.default is _EMPTY:
            raise SchemaError(f"{scope.where}: the parameter {p.name!r} is not among args={{{', '.join(validator.fields)}}}.")
    left = [name for name in validator.fields if name not in names.values()]
    if left and not free:
        raise SchemaError(f"{scope.where}: args has {left[0]!r}, but no parameter takes it; add it, or take **kwargs.")
    positional = tuple(p.name for p in named if p.kind in _POSITIONAL)
    return ArgumentsCodec(
        validator, None, {**names, **{name: name for name in left}}, positional=positional, where=scope.where
    )


def returns_of(
    handler: Callable[..., Any],
    returns: Validator | Mapping[str, Validator | OptionalField] | None = None,
    *,
    reader: TypeReader,
) -> Codec:
    """The codec of a handler's result. No annotation means anything. Raises SchemaError."""
    if isinstance(returns, Mapping):
        return Codec(ValidatorShape(Object(object_fields(returns))))
    if returns is not None:
        if not isinstance(returns, Validator):
            raise SchemaError(f"{handler.__qualname__}: returns is a validator, not {returns!r}.")
        return Codec(ValidatorShape(returns))
    signature, scope = signature_hints(handler)
    if signature.return_annotation is _EMPTY:
        return Codec(AnyShape())
    return Codec(reader.read(signature.return_annotation, scope.at(f"{scope.where} → result")))


