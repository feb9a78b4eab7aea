"""Copies frames to protobuf messages and back, field by field. Rule: nothing passes either way outside its bounds.

A frame type and its message have the same field names; the bounds stand in the type's annotations (`frame_bounds`).
"""

from __future__ import annotations

from dataclasses import dataclass, is_dataclass
from enum import IntEnum
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints

from gpufair.protocol.frame_answers import RuntimeProfile
from gpufair.protocol.frame_bounds import Between, Items, Length
from gpufair.protocol.frame_orders import Adapter, InputRef
from gpufair.protocol.frame_types import Frame


class BoundError(ValueError):
    """A value outside the bounds that its type states."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How one field is checked and copied: `kind` is the type of the value, or of each item of a tuple.

    `part` says that it is a dataclass of its own.
    """

    name: str
    many: bool
    part: bool
    kind: type
    bounds: tuple[object, ...]
    item_bounds: tuple[object, ...]


def _plan(name: str, hint: Any) -> Plan:
    inner, bounds = _split(hint)
    if get_origin(inner) is not tuple:
        return Plan(name, False, is_dataclass(inner), inner, bounds, ())
    item, item_bounds = _split(get_args(inner)[0])
    return Plan(name, True, is_dataclass(item), item, bounds, item_bounds)


def _split(hint: Any) -> tuple[Any, tuple[object, ...]]:
    """An annotation's bare type and its bounds."""
    if get_origin(hint) is Annotated:
        inner, *bounds = get_args(hint)
        return inner, tuple(bounds)
    return hint, ()


PLANS: Final[dict[type, tuple[Plan, ...]]] = {
    kind: tuple(_plan(name, hint) for name, hint in get_type_hints(kind, include_extras=True).items())
    for kind in (*get_args(Frame), Adapter, InputRef, RuntimeProfile)
}
"""The plan of every field of every frame type and of its parts, in order."""


def check(value: Any) -> None:
    """Raise `BoundError` at the first field of a frame, or of a part of one, that breaks its bounds."""
    for plan in PLANS[type(value)]:
        field = getattr(value, plan.name)
        _check_bounds(plan.name, field, plan.bounds)
        for item in field if plan.many else (field,):
            _check_bounds(plan.name, item, plan.item_bounds)
            if plan.part:
                check(item)


def _check_bounds(name: str, field: Any, bounds: tuple[object, ...]) -> None:
    for bound in bounds:
        match bound:
            case Between(low, high) if not low <= field <= high:
                raise BoundError(f"{name} is {field}, it must be {low} to {high}")
            case Length(low, high):
                size = len(field.encode() if isinstance(field, str) else field)
                if not low <= size <= high:
                    raise BoundError(f"{name} has {size} bytes, it must have {low} to {high}")
            case Items(high) if len(field) > high:
                raise BoundError(f"{name} has {len(field)} entries, the limit is {high}")


def fill(message: Any, value: Any) -> None:
    """Copy a frame, or a part of one, into its protobuf message."""
    message.SetInParent()
    for plan in PLANS[type(value)]:
        field = getattr(value, plan.name)
        target = getattr(message, plan.name)
        if plan.many and plan.part:
            for item in field:
                fill(target.add(), item)
        elif plan.many:
            target.extend(field)
        elif plan.part:
            fill(target, field)
        else:
            setattr(message, plan.name, field)


def read(kind: type, message: Any) -> Any:
    """The frame type `kind` with a message's fields, bounds not yet checked. `ValueError` for an unknown enum value."""
    return kind(**{plan.name: _value(plan, getattr(message, plan.name)) for plan in PLANS[kind]})


def _value(plan: Plan, field: Any) -> Any:
    if plan.part:
        return tuple(read(plan.kind, item) for item in field) if plan.many else read(plan.kind, field)
    if plan.many:
        return tuple(field)
    return plan.kind(field) if issubclass(plan.kind, IntEnum) else field
