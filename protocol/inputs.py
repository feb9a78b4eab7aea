"""What a job begins from. Rule: just the inputs that it needs, each a PNG of exactly the job's size; both sides ask.

One that goes on from a checkpoint brings the state that this holds, after the inputs of its task.

Nothing is decoded here: the first chunk of a PNG says its size and colours, and whoever decodes it finds any lie.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from gpufair.protocol import limits
from gpufair.protocol.messages import Input, InputKind, Reason, ReasonCode, Spec, Task

NEEDED: dict[Task, tuple[InputKind, ...]] = {
    Task.TEXT_TO_IMAGE: (),
    Task.IMAGE_TO_IMAGE: (InputKind.IMAGE,),
    Task.INPAINT: (InputKind.IMAGE, InputKind.MASK),
}
"""The inputs of each task, in this order."""

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = struct.Struct(">8sI4sIIBBBBB")
"""A PNG's first bytes: signature, the first chunk's length and name, width, height, bits, colours, three methods."""
_COLOURS = {InputKind.IMAGE: 2, InputKind.MASK: 0}
"""PNG's own numbers for RGB and for one grey channel."""
_NAMES = {
    InputKind.IMAGE: "an image in RGB",
    InputKind.MASK: "a mask in one grey channel",
    InputKind.STATE: "the state of a checkpoint",
}


def body_max(spec: Spec) -> int:
    """The most bytes that the sealed body of a job can have."""
    pictures = limits.INPUTS_BYTES_MAX if NEEDED.get(spec.task) else 0
    return limits.BODY_MAX + pictures + (limits.STATE_MAX if spec.done else 0) + limits.KIB


def objection(spec: Spec, inputs: Sequence[Input]) -> Reason | None:
    """What is wrong with a job's inputs, as far as their headers tell; None if nothing is."""
    needed = (*NEEDED.get(spec.task, ()), *((InputKind.STATE,) if spec.done else ()))
    if tuple(one.kind for one in inputs) != needed:
        words = " and ".join(_NAMES[kind] for kind in needed) or "nothing but words"
        detail = f"{spec.task.name.lower()} begins from {words}"
        return Reason(ReasonCode.INPUT_WRONG, len(inputs), len(needed), "inputs", detail)
    size = sum(len(one.data) for one in inputs if one.kind is not InputKind.STATE)
    if size > limits.INPUTS_BYTES_MAX:
        return Reason(ReasonCode.INPUT_WRONG, size, limits.INPUTS_BYTES_MAX, "bytes", "of all inputs together")
    return next((wrong for one in inputs if (wrong := _objection(spec, one)) is not None), None)


def _objection(spec: Spec, one: Input) -> Reason | None:
    if one.kind is not InputKind.STATE:
        return _png_objection(spec, one)
    size, most = len(one.data), min(limits.STATE_MAX, limits.STATE_PIXEL_BYTES * spec.width * spec.height)
    if size % 4 or size > most:
        return Reason(ReasonCode.CHECKPOINT_WRONG, size, most, "bytes", "a state of 32-bit floats")
    return None


def _png_objection(spec: Spec, one: Input) -> Reason | None:
    name = one.kind.name.lower()
    if len(one.data) < _HEADER.size:
        return Reason(ReasonCode.INPUT_WRONG, detail=f"the {name} is no PNG")
    signature, length, chunk, width, height, bits, colours, *_ = _HEADER.unpack_from(one.data)
    if (signature, length, chunk) != (_SIGNATURE, 13, b"IHDR"):
        return Reason(ReasonCode.INPUT_WRONG, detail=f"the {name} is no PNG")
    for side, has, wanted in (("wide", width, spec.width), ("high", height, spec.height)):
        if has != wanted:
            return Reason(ReasonCode.INPUT_WRONG, has, wanted, "pixels", f"how {side} the {name} is")
    if (bits, colours) != (8, _COLOURS[one.kind]):
        detail = f"the {name} must be {_NAMES[one.kind]}, 8 bits each"
        return Reason(ReasonCode.INPUT_WRONG, detail=detail)
    return None
