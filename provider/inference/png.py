"""Pictures as PNG. Rule: the same pixels give the same bytes under the same Pillow, and no metadata goes in."""

from __future__ import annotations

import io

from PIL import Image

from gpufair.protocol.limits import PREVIEW_MAX

PREVIEW_SHARE = 4
"""A preview has at most 1/4 of each side: it shows where a picture is going and replaces none."""


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
