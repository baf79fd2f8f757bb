"""Bytes ↔ Python objects, for one annotation or validator.

Each direction has a fast way through msgspec and a tree way, which is the truth: whatever the fast way does not take is
done again by the tree, which then gives the error its text.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from reactor.schema.dumping import dump
from reactor.schema.shapes import AnyShape, Finish, Guard, ListShape, Shape, ValidatorShape
from reactor.schema.struct_shapes import StructShape, UnionShape
from reactor.schema.validators import Resolver, Validator
from reactor.values import wire

__all__ = ["Codec"]

_encode_json: Final = msgspec.json.Encoder(order="sorted").encode
_LARGE_NUMBER: Final = re.compile(rb"(?:^|[\[,:])-?\d{16}")


class Codec:
    """Both directions for one `Shape`. Keeps no state, safe on all threads."""

    __slots__ = ("_fast", "_finish", "_guard", "_own_guard", "shape", "validator")

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self.validator: Validator = shape.validator
        self._fast: Any = None
        self._guard: Guard | None = None
        self._finish: Finish | None = None
        self._fast, self._guard, self._finish = _decoder(shape)
        self._own_guard: Guard | None = shape.own_guard if isinstance(shape, StructShape) else self._guard

    def decode(self, raw: bytes, resolve: Resolver | None) -> Any:
        """Wire bytes from outside → the Python object. Raises InvalidValue with path, expected and got."""
        if self._fast is not None and not self.shape.lenient:
            try:
                obj = self._fast(raw)
                if self._finish is not None:
                    self._finish(obj, resolve)
                if self._guard is None or self._guard(obj, resolve):
                    return obj
            except Exception:  # whatever it was, the tree finds it again and says it better
                pass
        value = wire.decode(raw)
        self.validator.check(value, resolve)
        return self.shape.load(value, resolve)

    def encode(self, obj: Any, resolve: Resolver | None) -> bytes:
        """A Python object → wire bytes, sorted and checked. Raises InvalidValue with path, expected and got."""
        codec = self if self._fast is not None else _codec_of_untyped(self.shape, obj)
        if codec is not None:
            raw = codec._encode_fast(obj, resolve if codec is self else None)
            if raw is not None:
                return raw
        return self.encode_value(dump(obj), resolve)

    def _encode_fast(self, obj: Any, resolve: Resolver | None) -> bytes | None:
        try:
            raw = _encode_json(obj)
            back = self._fast(raw)
            if self._finish is not None:
                if _LARGE_NUMBER.search(raw):
                    return None  # an int beyond ±2^53 equals the float that it would come back as
                self._finish(back, resolve)
            # msgspec writes dates, tuples or NaN as something else without asking: what comes back must be equal.
            if back == obj and (self._guard is None or self._guard(back, resolve)):
                return raw
        except Exception:  # whatever it was, the tree finds it again and says it better
            pass
        return None

    def encode_value(self, value: Any, resolve: Resolver | None) -> bytes:
        """A value tree → wire bytes, sorted and checked."""
        raw = wire.encode(value)
        self.validator.check(value, resolve)
        return raw

    def read(self, raw: bytes) -> Any:
        """Stored bytes, which were checked when they were written → a fresh Python object.

        Raises InvalidValue when they don't fit after all (schema validation was off, or the class has changed).
        """
        if self._fast is not None:
            try:
                obj = self._fast(raw)
                if self._finish is not None:
                    self._finish(obj, None)
                return obj
            except Exception:
                pass
        value: Any = wire.decode(raw)
        if isinstance(self.shape, (ValidatorShape, AnyShape)):
            return value
        if isinstance(self.shape, StructShape) and self.shape.is_projection and isinstance(value, dict):
            value = {name: item for name, item in value.items() if name in self.shape.by_wire}
        return self.load(value, None)

    def takes(self, raw: bytes, resolve: Resolver | None) -> bool:
        """Whether the fast way takes the bytes of a document with the system fields that the database gave it.

        Then they fit. False says nothing; the validator decides.
        """
        if self._fast is None:
            return False
        try:
            obj = self._fast(raw)
            if self._finish is not None:
                self._finish(obj, resolve)
            return self._own_guard is None or self._own_guard(obj, resolve)
        except Exception:
            return False

    def load(self, value: Any, resolve: Resolver | None) -> Any:
        """A value tree → the Python object, checked."""
        self.validator.check(value, resolve)
        return self.shape.load(value, resolve)

    def dump(self, obj: Any) -> Any:
        """A Python object → its value tree, not checked."""
        return dump(obj)


def _codec_of_untyped(shape: Shape, obj: Any) -> Codec | None:
    """For `Any`: the codec of the struct, or of the list of structs, that `obj` seems to be. It checks no ids."""
    if not isinstance(shape, AnyShape):
        return None
    cls: Any = type(obj)
    many = cls is list
    if many:
        cls = type(obj[0]) if obj else cls
    own = getattr(cls, "_reactor_shape", None)
    if own is None or own.fast is None or own.cls is not cls:
        return None
    codecs = cls._reactor_codecs  # kept on the class, so that they go with it when an app is reloaded
    if codecs is None or codecs[0].shape is not own:
        codecs = cls._reactor_codecs = (Codec(own), Codec(ListShape(own)))
    return codecs[many]


def _decoder(shape: Shape) -> tuple[Any, Guard | None, Finish | None]:
    """The msgspec decoder of a shape with the check that belongs to it; no decoder where msgspec can't."""
    if isinstance(shape, UnionShape) and shape.fast is None:
        return _union_decoder(shape)
    if shape.fast is None:
        return None, None, None
    try:
        return msgspec.json.Decoder(shape.fast).decode, shape.guard, shape.finish
    except TypeError:
        return None, None, None


def _union_decoder(shape: UnionShape) -> tuple[Any, Guard | None, Finish | None]:
    """For a union of structs that a string or boolean literal tells apart: read that first, then decode exactly."""
    members = [member for member in shape.members if isinstance(member, StructShape) and member.fast is not None]
    if shape.discriminator is None or len(members) != len(shape.members):
        return None, None, None
    name, choices = shape.discriminator
    if any(not isinstance(value, (str, bool)) for _, value in choices):
        return None, None, None  # whole numbers have two spellings; the tree reads both
    decoders = {value: msgspec.json.Decoder(member.fast).decode for (_, value), member in choices.items()}
    guards = {member.cls: member.guard for member in members if member.guard is not None}
    probe_type = msgspec.defstruct("Probe", [("it", str | bool, msgspec.field(name=name))], frozen=True)
    probe: Any = msgspec.json.Decoder(probe_type).decode

    def guard(obj: Any, resolve: Resolver | None) -> bool:
        inner = guards.get(type(obj))
        return inner is None or inner(obj, resolve)

    finishes = {member.cls: member.finish for member in members if member.finish is not None}

    def finish(obj: Any, resolve: Resolver | None) -> None:
        inner = finishes.get(type(obj))
        if inner is not None:
            inner(obj, resolve)

    return lambda raw: decoders[probe(raw).it](raw), guard if guards else None, finish if finishes else None
