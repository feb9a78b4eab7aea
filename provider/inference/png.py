"""Pictures as PNG. Rule: the same pixels give the same bytes under the same Pillow, and no metadata goes in.

What comes in is a stranger's: a header of 33 bytes says all that decides, and is read before anything is unpacked.
"""

from __future__ import annotations

import io
import struct
from typing import Final

from PIL import Image

from gpufair.protocol.frames import IMAGE, MASK, FailCode
from gpufair.protocol.limits import PREVIEW_MAX
from gpufair.provider.inference.engine import RefusedError

PREVIEW_SHARE = 4
"""A preview has at most 1/4 of each side: it shows where a picture is going and replaces none."""

HEADER = struct.Struct(">8sI4sIIBB3s")
"""Signature, length and name of the first chunk, width, height, bits, colour type, methods."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS: Final = {0: "grey", 2: "RGB", 3: "a palette", 4: "grey with transparency", 6: "RGB with transparency"}
WANTED: Final = {IMAGE: 2, MASK: 0}


def encode(picture: Image.Image) -> bytes:
    """The picture as RGB PNG."""
    out = io.BytesIO()
    plain = Image.new("RGB", picture.size)
    plain.paste(picture)
    plain.save(out, "PNG", compress_level=6, optimize=False)
    return out.getvalue()


def preview(picture: Image.Image) -> bytes:
    """A small PNG of at most `PREVIEW_MAX` bytes: a quarter of each side, and less if that is still too many bytes."""
    width, height = (max(1, side // PREVIEW_SHARE) for side in picture.size)
    while True:
        data = encode(picture.resize((width, height), Image.Resampling.BOX))
        if len(data) <= PREVIEW_MAX:
            return data
        width, height = max(1, width // 2), max(1, height // 2)


def decode(data: bytes, kind: str, width: int, height: int) -> Image.Image:
    """An input of the kind "image" (RGB) or "mask" (one grey channel), 8 bits, of exactly this size.

    `RefusedError` for anything else, with what it is; nothing is unpacked before that is known.
    """
    if len(data) < HEADER.size or not data.startswith(SIGNATURE):
        raise _bad(f"the {kind} of {len(data)} bytes is no PNG")
    _sign, length, name, wide, high, bits, colour, _methods = HEADER.unpack_from(data)
    if (length, name) != (13, b"IHDR"):
        raise _bad(f"the {kind} is a PNG without a header")
    if (wide, high) != (width, height):
        raise _bad(f"the {kind} has {wide} by {high} pixels, the job {width} by {height}")
    if (bits, colour) != (8, WANTED[kind]):
        found, due = COLOURS.get(colour, f"colour type {colour}"), COLOURS[WANTED[kind]]
        raise _bad(f"the {kind} has {bits} bits of {found}, it must have 8 of {due}")
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            picture.load()
            return Image.frombytes(picture.mode, picture.size, picture.tobytes())
    except Exception as err:
        # Bytes can be wrong in as many ways as the library has exceptions.
        raise _bad(f"the {kind} of {len(data)} bytes can't be unpacked: {type(err).__name__}") from err


def _bad(message: str) -> RefusedError:
    return RefusedError(FailCode.BAD_REQUEST, message)
