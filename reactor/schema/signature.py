"""A handler's signature → the codecs of its arguments and of its result.

The arguments are one object on the wire. They are read through a struct class made for the handler, so names, defaults
and optional fields follow exactly the rules of structs.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, Final

from reactor.errors import SchemaError
from reactor.schema.annotations import TypeReader
from reactor.schema.arguments import ArgumentsCodec
from reactor.schema.codec import Codec
from reactor.schema.hints import Scope, signature_hints, wrapper_parameters
from reactor.schema.naming import camel, refuse_collisions
from reactor.schema.shapes import AnyShape, ValidatorShape
from reactor.schema.structs import Struct
from reactor.schema.validators import AnyValue, Object, OptionalField, Validator, object_fields

__all__ = ["arguments_of", "check_handler", "returns_of"]

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EMPTY: Final = inspect.Parameter.empty


def check_handler(handler: Callable[..., Any]) -> None:
    """Raise SchemaError for a handler that can never work, as far as it shows without its types."""
    name = getattr(handler, "__qualname__", repr(handler))
    inner = inspect.unwrap(handler)
    if inspect.isasyncgenfunction(inner):
        raise SchemaError(f"{name}: a handler returns its result; `yield` makes it a generator. Collect into a list.")
    if not inspect.iscoroutinefunction(inner):
        raise SchemaError(
            f"{name} must be a coroutine: write `async def {getattr(handler, '__name__', name)}(ctx, …)`."
        )
    parameters = list(inspect.signature(inner).parameters.values())
    if not parameters or parameters[0].kind not in _POSITIONAL:
        raise SchemaError(f"{name} needs the context as its first parameter: `async def {handler.__name__}(ctx, …)`.")


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
    places = {parameter.name: scope for parameter in parameters}
    around = {p.name: (p, place) for p, place in wrapper_parameters(handler, skip) if p.name not in places}
    parameters = [p for p, _ in around.values()] + parameters
    places.update({name: place for name, (_, place) in around.items()})
    for parameter in parameters:
        if parameter.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
            stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise SchemaError(
                f"{where}: {stars}{parameter.name} does not say which arguments there are; write one parameter each, "
                "or give validators with args={…}."
            )
    names = {parameter.name: camel(parameter.name) for parameter in parameters}
    refuse_collisions(list(names.items()), where)
    struct = _arguments_struct(scope, parameters, places, reader)
    shape = reader.struct(struct)
    positional = tuple(parameter.name for parameter in parameters if parameter.kind in _POSITIONAL)
    return ArgumentsCodec(shape.validator, shape, names, positional=positional, where=where)


def _arguments_struct(
    scope: Scope, parameters: list[inspect.Parameter], places: Mapping[str, Scope], reader: TypeReader
) -> type[Struct]:
    hints: dict[str, Any] = {}
    body: dict[str, Any] = {"__module__": "reactor.arguments", "__qualname__": scope.where}
    for parameter in parameters:
        place = places[parameter.name].at(f"{scope.where}({parameter.name})")
        hint = Any if parameter.annotation is _EMPTY else reader.evaluate(parameter.annotation, place)
        hints[parameter.name] = hint
        if parameter.default is not _EMPTY:
            body[parameter.name] = parameter.default
    body["__annotations__"] = hints
    struct = types.new_class("Arguments", (Struct,), {}, lambda namespace: namespace.update(body))
    struct._reactor_locals = dict(scope.local_names or {})
    struct._reactor_globals = scope.names
    struct._reactor_place = "{}({})"
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
            raise SchemaError(
                f"{scope.where}: the parameter {p.name!r} is not among args={{{', '.join(validator.fields)}}}."
            )
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
