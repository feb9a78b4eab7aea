"""Pictures to begin from. Rule: what a person has becomes PNG of exactly the job's size, and no more of it goes out.

A file is bounded before it is decoded, then turned as its camera meant it, and drawn anew: place, time and whatever
else lies in a photograph stay here. Scaling and cropping are the client's: a provider never sees more than the job's
size.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import Input, InputKind, Task

if TYPE_CHECKING:
    from PIL import Image

Margins = tuple[int, int, int, int]
"""Pixels to the left, on top, to the right and below."""

_FORMATS = ("PNG", "JPEG", "WEBP")
_WHITE, _BLACK = 255, 0
_HALF = 128


@dataclass
class Beginning:
    """What a picture begins from: an image, and where it is to be made anew, a mask or margins around it."""

    image: Image.Image
    mask: Image.Image | None = None
    margins: Margins | None = None
    _made: dict[tuple[int, int], tuple[Input, ...]] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        """What it asks for."""
        return Task.IMAGE_TO_IMAGE if self.mask is None and self.margins is None else Task.INPAINT

    @property
    def size(self) -> tuple[int, int]:
        """The job's size that needs the least scaling: sides of a multiple of eight. Raises LocalError if too large."""
        left, top, right, below = self.margins or (0, 0, 0, 0)
        whole = self.image.width + left + right, self.image.height + top + below
        width, height = (
            max(limits.SIDE_MIN, round(side / limits.SIDE_MULTIPLE) * limits.SIDE_MULTIPLE) for side in whole
        )
        if width * height > limits.PIXELS_MAX or max(width, height) > limits.SIDE_MAX:
            what = f"a job of the image's size has {width}x{height} pixels: at most {limits.PIXELS_MAX:,} in all"
            raise LocalError(Fault.TOO_LARGE, what, hint="--size WxH scales it")
        return width, height

    def words(self, width: int, height: int) -> str:
        """What is done with the image so that it has the job's size."""
        has, inner = (self.image.width, self.image.height), self._inner(width, height)
        done = [f"{has[0]}x{has[1]}"]
        if has != inner:
            scaled = has[0] * inner[1] == has[1] * inner[0]
            done.append(f"scaled {'' if scaled else 'and cropped '}to {inner[0]}x{inner[1]}")
        if self.margins is not None:
            done.append("with margins of {}, {}, {} and {} pixels".format(*self.margins))
        return ", ".join(done) + (", with a mask" if self.mask is not None else "")

    def inputs(self, width: int, height: int) -> tuple[Input, ...]:
        """The inputs of a job of this size. Raises LocalError where there would be nothing to do, or too many bytes."""
        if (width, height) not in self._made:
            self._made.clear()
            self._made[width, height] = self._make(width, height)
        return self._made[width, height]

    def _make(self, width: int, height: int) -> tuple[Input, ...]:
        image = _fit(self.image, self._inner(width, height))
        if self.margins is not None:
            image = _widened(image, self.margins)
        made = [Input(InputKind.IMAGE, _png(image))]
        if self.task is Task.INPAINT:
            made.append(Input(InputKind.MASK, _png(self._mask(width, height))))
        size = sum(len(one.data) for one in made)
        if size > limits.INPUTS_BYTES_MAX:
            what = f"the inputs have {size:,} bytes as PNG of {width}x{height}, at most {limits.INPUTS_BYTES_MAX:,}"
            raise LocalError(Fault.TOO_LARGE, what, hint="a smaller --size takes fewer")
        return tuple(made)

    def _mask(self, width: int, height: int) -> Image.Image:
        """White where the picture is to be made anew, black where it is to stay."""
        if self.margins is not None:
            from PIL import Image

            mask = Image.new("L", (width, height), _WHITE)
            mask.paste(_BLACK, (*self.margins[:2], *_corner(self.margins, self._inner(width, height))))
            return mask
        assert self.mask is not None
        mask = _fit(self.mask, (width, height)).point([_WHITE if level >= _HALF else _BLACK for level in range(256)])
        if not mask.getbbox():
            raise LocalError(Fault.MALFORMED, "the mask has no white: nothing would be made anew")
        return mask

    def _inner(self, width: int, height: int) -> tuple[int, int]:
        """The size of the image itself within the job's."""
        left, top, right, below = self.margins or (0, 0, 0, 0)
        inner = width - left - right, height - top - below
        if min(inner) < limits.SIDE_MIN:
            what = f"margins leave {inner[0]}x{inner[1]} of {width}x{height} pixels for the image"
            raise LocalError(Fault.MALFORMED, f"{what}: at least {limits.SIDE_MIN} each", hint="smaller margins")
        return inner


def beginning(image: bytes, mask: bytes | None = None, margins: Margins | None = None) -> Beginning:
    """What to begin from, out of files' bytes. Raises LocalError: no picture, too large, a mask of another size."""
    if mask is not None and margins is not None:
        what = "a mask says where the image is made anew, an outpainting adds to it"
        raise LocalError(Fault.MALFORMED, what, hint="give one of the two")
    if margins is not None and (min(margins) < 0 or not 0 < max(margins) <= limits.SIDE_MAX):
        what = f"outpaint is {','.join(map(str, margins))}: each 0 to {limits.SIDE_MAX}, and not all 0"
        raise LocalError(Fault.MALFORMED, what)
    picture = _drawn(_decoded(image, "image"), "RGB", _WHITE)
    if mask is None:
        return Beginning(picture, None, margins)
    where = _drawn(_decoded(mask, "mask"), "L", _BLACK)
    if where.size != picture.size:
        what = "the mask has {}x{} pixels, the image {}x{}".format(*where.size, *picture.size)
        raise LocalError(Fault.MALFORMED, what, hint="a mask has the size of its image")
    return Beginning(picture, where)


def _decoded(data: bytes, name: str) -> Image.Image:
    """A picture of a bounded size, upright. Raises LocalError."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    if len(data) > limits.INPUT_FILE_MAX:
        raise LocalError(Fault.TOO_LARGE, f"the {name} has {len(data):,} bytes, at most {limits.INPUT_FILE_MAX:,}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own bound is below the one that Pillow warns of
            picture = Image.open(io.BytesIO(data), formats=_FORMATS)
            _check_size(picture, name)
            picture.load()
            return ImageOps.exif_transpose(picture)
    except LocalError:
        raise
    except Image.DecompressionBombError as error:
        raise LocalError(Fault.TOO_LARGE, f"the {name} is too large: at most {limits.INPUT_SIDE_MAX} a side") from error
    except UnidentifiedImageError as error:
        what = f"the {name} can't be read: it is no PNG, JPEG or WebP"
        raise LocalError(Fault.MALFORMED, what, hint="convert it to one of these") from error
    except Exception as error:  # a decoder fails in as many ways as there are ways to break a file
        what = f"the {name} can't be read: {str(error)[:200] or type(error).__name__}"
        raise LocalError(Fault.MALFORMED, what, hint="PNG, JPEG and WebP are taken, whole") from error


def _check_size(picture: Image.Image, name: str) -> None:
    """Before a pixel is decoded: a small file may claim to hold a very large picture."""
    if max(picture.size) > limits.INPUT_SIDE_MAX:
        what = f"the {name} has {picture.width}x{picture.height} pixels, at most {limits.INPUT_SIDE_MAX} a side"
        raise LocalError(Fault.TOO_LARGE, what, hint="scale it down first")
    if (frames := getattr(picture, "n_frames", 1)) != 1:
        raise LocalError(Fault.MALFORMED, f"the {name} is animated: it has {frames} pictures, and must have 1")


def _drawn(picture: Image.Image, mode: str, ground: int) -> Image.Image:
    """The pixels alone, on a ground of one colour where the picture is transparent."""
    from PIL import Image

    has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    clear = picture.convert("RGBA") if has_alpha else picture.convert(mode)
    drawn = Image.new(mode, picture.size, (ground,) * len(Image.new(mode, (1, 1)).getbands()))
    drawn.paste(clear.convert(mode), mask=clear.getchannel("A") if has_alpha else None)
    return drawn


def _fit(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Scaled to fill a size, and cropped around its middle."""
    from PIL import Image, ImageOps

    return picture if picture.size == size else ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


def _widened(picture: Image.Image, margins: Margins) -> Image.Image:
    """A picture with margins in the colours of its edges, to begin the new part from."""
    from PIL import Image

    (left, top, right, below), (width, height) = margins, picture.size
    whole = Image.new("RGB", (left + width + right, top + height + below))
    whole.paste(picture, (left, top))
    for strip, place, to in (
        ((left, top, left + 1, top + height), (0, top), (left, height)),
        ((left + width - 1, top, left + width, top + height), (left + width, top), (right, height)),
        ((0, top, whole.width, top + 1), (0, 0), (whole.width, top)),
        ((0, top + height - 1, whole.width, top + height), (0, top + height), (whole.width, below)),
    ):
        if min(to):
            whole.paste(whole.crop(strip).resize(to), place)
    return whole


def _corner(margins: Margins, inner: tuple[int, int]) -> tuple[int, int]:
    return margins[0] + inner[0], margins[1] + inner[1]


def _png(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, format="PNG")
    return out.getvalue()
