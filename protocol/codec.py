"""A reader and a writer for each class of messages. Rule: a bound's shortcut may only let through what `check` would.

All that a busy node says and hears goes through here, so a class's fields are walked once, and two functions are
written for it as Python source, as `dataclasses` does. Where a shortcut is false, `check` decides and names the fault.
The reader of `Lock` comes out as

    def made(generated):
        read = c1(kind)
        v = generated.amount
        if not ((1 <= v <= 1000000000000000)): c2('amount', v)
        c3(read, v)
        v = generated.hashlock
        if not ((32 <= len(v) <= 32)): c4('hashlock', v)
        c5(read, v)
        return read

`c1` is `object.__new__`, and `c3` and `c5` set a slot: the `__init__` of a frozen dataclass takes twice as long. Fields
of many values are read from a slice: a loop over protobuf's own containers ends with an exception.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.message import Message

from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.fields import Constraint

R = TypeVar("R")
Reader = Callable[[Message], Any]
Writer = Callable[[Any, Message], None]

_SCALARS = (int, str, bytes, bool)


def per_class(function: Callable[[type[Any]], R]) -> Callable[[type[Any]], R]:
    """Remember what was worked out for a class."""
    return cast("Callable[[type[Any]], R]", cache(function))


@dataclass(frozen=True, slots=True)
class _Field:
    """What an annotation says: `checks` are those of each value, `sizes` those of the tuple that holds them."""

    name: str
    kind: type[Any]
    checks: tuple[Constraint, ...]
    many: bool
    sizes: tuple[Constraint, ...]
    optional: bool

    @property
    def shortcut(self) -> str:
        """A test of the value called `v`, as source."""
        return " and ".join(f"({check.shortcut('v', self.kind)})" for check in self.checks) or "True"

    @property
    def size(self) -> str:
        """The same of the tuple."""
        return " and ".join(f"({check.shortcut('v', tuple)})" for check in self.sizes) or "True"


class _Source:
    """The lines of one function, and the objects that they name."""

    def __init__(self, head: str, kind: type[Any]) -> None:
        self._lines = [head]
        self._scope: dict[str, Any] = {"kind": kind}

    def name(self, thing: object) -> str:
        """What the lines call this object."""
        name = f"c{len(self._scope)}"
        self._scope[name] = thing
        return name

    def add(self, *lines: str) -> None:
        """More lines of the function's body."""
        self._lines += [f"    {line}" for line in lines]

    def function(self) -> Any:
        """The function that the lines define."""
        exec("\n".join(self._lines), self._scope)  # noqa: S102 -- our own annotations, as `dataclasses` does it
        return self._scope["made"]


@per_class
def reader(kind: type[Any]) -> Reader:
    """Makes a `kind` of a generated object. Raises PeerError if a field is out of bounds, or a part is missing."""
    source = _Source("def made(generated):", kind)
    source.add(f"read = {source.name(object.__new__)}(kind)")
    for field in _fields(kind):
        _read(source, field)
        source.add(f"{source.name(getattr(kind, field.name).__set__)}(read, v)")
    source.add("return read")
    return cast("Reader", source.function())


@per_class
def writer(kind: type[Any]) -> Writer:
    """Copies a `kind` into a generated object. Raises PeerError if a field is out of bounds or of another type."""
    source = _Source("def made(message, generated):", kind)
    for field in _fields(kind):
        source.add(f"v = message.{field.name}")
        _write(source, field)
    source.add("return None")
    return cast("Writer", source.function())


def _read(source: _Source, field: _Field) -> None:
    name, value = field.name, f"generated.{field.name}"
    if field.many:
        source.add(f"v = {value}")
        _test(source, field.size, _checked(field.sizes), name)
    if field.kind in _SCALARS:
        slow = _checked(field.checks)
        if field.many:
            source.add("values = v[:]", "for v in values:", f"    {_tested(source, field.shortcut, slow, name)}")
            source.add("v = tuple(values)")
        else:
            source.add(f"v = {value}")
            _test(source, field.shortcut, slow, name)
    elif field.many and issubclass(field.kind, IntEnum):
        source.add(f"v = tuple([{_converted(source, field, 'one')} for one in v[:]])")
    elif field.many:
        source.add(f"v = tuple(map({source.name(reader(field.kind))}, v[:]))")
    elif issubclass(field.kind, IntEnum):
        source.add(f"v = {_converted(source, field, value)}")
    else:
        missing = source.name(_missing)
        absent = "v = None" if field.optional else f"{missing}(kind, {name!r})"
        source.add(f"if generated.HasField({name!r}): v = {_converted(source, field, value)}", f"else: {absent}")


def _converted(source: _Source, field: _Field, value: str) -> str:
    """An expression for a generated enum's or part's counterpart."""
    if issubclass(field.kind, IntEnum):
        known, unknown = source.name(_members(field.kind)), source.name(_unknown(field.kind))
        return f"({known}.get({value}) or {unknown}({field.name!r}, {value}))"
    return f"{source.name(reader(field.kind))}({value})"


def _write(source: _Source, field: _Field) -> None:
    name, target = field.name, f"generated.{field.name}"
    if field.many:
        _test(source, field.size, _checked(field.sizes), name)
    if field.kind in _SCALARS:
        typed = f"type(v) is {field.kind.__name__} and {field.shortcut}"
        slow = _checked(field.checks, field.kind)
        if field.many:
            source.add("values = v", "for v in values:", f"    {_tested(source, typed, slow, name)}")
            source.add(f"{target}.extend(values)")
        else:
            _test(source, typed, slow, name)
            source.add(f"{target} = v")
    elif issubclass(field.kind, IntEnum):
        if field.many:
            source.add(f"{target}.extend([int({_converted(source, field, 'one')}) for one in v])")
        else:
            source.add(f"{target} = int({_converted(source, field, 'v')})")
    else:
        write = source.name(writer(field.kind))
        if field.many:
            source.add(f"for one in v: {write}(one, {target}.add())")
        else:
            guard = "if v is not None: " if field.optional else ""
            source.add(f"{guard}{target}.SetInParent(); {write}(v, {target})")


def _test(source: _Source, shortcut: str, slow: Callable[[str, Any], None], name: str) -> None:
    if shortcut != "True":
        source.add(_tested(source, shortcut, slow, name))


def _tested(source: _Source, shortcut: str, slow: Callable[[str, Any], None], name: str) -> str:
    return f"if not ({shortcut}): {source.name(slow)}({name!r}, v)"


def _checked(checks: tuple[Constraint, ...], kind: type[Any] | None = None) -> Callable[[str, Any], None]:
    """The whole check of a value, its type included where protobuf has not seen to that."""

    def slow(name: str, value: Any) -> None:
        if kind is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise PeerError(Fault.MALFORMED, f"{name} is not a {kind.__name__}")
        for check in checks:
            check.check(name, value)

    return slow


def _missing(kind: type[Any], name: str) -> None:
    raise PeerError(Fault.MALFORMED, f"{kind.__name__} lacks {name}")


def _members(kind: type[IntEnum]) -> dict[int, IntEnum]:
    """The numbers that mean something; 0 is what was never set."""
    return {int(member): member for member in kind if member}


def _unknown(kind: type[IntEnum]) -> Callable[[str, Any], None]:
    def refuse(name: str, value: Any) -> None:
        raise PeerError(Fault.MALFORMED, f"{name} is {value}: no {kind.__name__} has that number")

    return refuse


@per_class
def _fields(kind: type[Any]) -> tuple[_Field, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_field(field.name, hints[field.name]) for field in fields(kind))


def _field(name: str, hint: Any) -> _Field:
    optional = get_origin(hint) in (Union, types.UnionType)
    if optional:
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    plain, checks = _split(hint)
    if get_origin(plain) is not tuple:
        return _Field(name, plain, checks, False, (), optional)
    item, item_checks = _split(get_args(plain)[0])
    return _Field(name, item, item_checks, True, checks, False)


def _split(hint: Any) -> tuple[Any, tuple[Constraint, ...]]:
    """An annotation's bare type and its bounds."""
    if get_origin(hint) is not Annotated:
        return hint, ()
    plain, *extras = get_args(hint)
    return plain, tuple(extra for extra in extras if isinstance(extra, Constraint))
