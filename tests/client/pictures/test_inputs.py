"""Pictures to begin from: whatever a person has, its pixels alone go out, in the job's size, or it is refused why."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from random import Random as Dice
from typing import Any

import pytest
from PIL import Image, ImageDraw

from gpufair.client.pictures.inputs import beginning
from gpufair.protocol import inputs, limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import Precision, Scheduler, Spec, Task

SPEC = Spec(Task.IMAGE_TO_IMAGE, bytes(32), Scheduler.DDIM, Precision.EXACT, 64, 64, 12, 1, False, (), 8)


def scene(width: int = 96, height: int = 64, mode: str = "RGB") -> Image.Image:
    """Red on the left, blue on the right."""
    picture = Image.new("RGB", (width, height), "blue")
    ImageDraw.Draw(picture).rectangle((0, 0, width // 2 - 1, height), fill="red")
    return picture.convert(mode)


def file(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, format=kind, **options)
    return out.getvalue()


def drawn(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png))


def bomb(width: int, height: int) -> bytes:
    """A small PNG that says it holds very many pixels, all of them black."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("width", "height"), [(64, 64), (128, 32), (24, 96)])
def test_every_format_becomes_a_png_of_the_jobs_size(kind: str, width: int, height: int) -> None:
    begin = beginning(file(scene(), kind))
    [made] = begin.inputs(width, height)
    assert inputs.objection(replace(SPEC, width=width, height=height), (made,)) is None
    picture = drawn(made.data)
    assert (picture.mode, picture.size) == ("RGB", (width, height))
    left, right = picture.getpixel((1, height // 2)), picture.getpixel((width - 2, height // 2))
    assert isinstance(left, tuple)
    assert isinstance(right, tuple)
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]
    assert begin.inputs(width, height)[0] is made, "made once"


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK", "I;16"])
def test_every_kind_of_pixels(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    begin = beginning(file(scene(mode="L").convert("I;16") if mode == "I;16" else scene(mode=mode), kind))
    assert inputs.objection(SPEC, begin.inputs(64, 64)) is None


def test_what_is_transparent_is_white() -> None:
    clear = Image.new("RGBA", (64, 64), (0, 0, 0, 0))
    [made] = beginning(file(clear)).inputs(64, 64)
    assert drawn(made.data).getcolors() == [(64 * 64, (255, 255, 255))]


def test_a_photograph_is_turned_as_it_was_meant_and_tells_nothing_else() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright
    exif[0x010E] = "taken at home"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 0.0)
    data = file(scene(), "JPEG", exif=exif, comment=b"taken at home", dpi=(300, 300))
    assert b"taken at home" in data
    begin = beginning(data)
    assert begin.size == (64, 96)
    [made] = begin.inputs(64, 96)
    top = drawn(made.data).getpixel((32, 5))
    assert isinstance(top, tuple)
    assert top[0] > 200, "red was on the left, and is on top"
    names = []
    at = 8
    while at < len(made.data):
        (length,) = struct.unpack_from(">I", made.data, at)
        names.append(made.data[at + 4 : at + 8])
        at += length + 12
    assert set(names) == {b"IHDR", b"IDAT", b"IEND"}


@pytest.mark.parametrize(
    ("data", "fault", "words"),
    [
        (lambda: b"", Fault.MALFORMED, "can't be read"),
        (lambda: b"root:x:0:0", Fault.MALFORMED, "it is no PNG, JPEG or WebP"),
        (lambda: b"GIF89a" + bytes(99), Fault.MALFORMED, "it is no PNG, JPEG or WebP"),
        (lambda: file(scene(), "GIF"), Fault.MALFORMED, "can't be read"),
        (lambda: file(scene())[:-40], Fault.MALFORMED, "can't be read"),
        (lambda: file(scene(), "JPEG")[:400], Fault.MALFORMED, "can't be read"),
        (lambda: file(scene(), "WEBP")[:-40], Fault.MALFORMED, "can't be read"),
        (lambda: bytes(limits.INPUT_FILE_MAX + 1), Fault.TOO_LARGE, "67,108,865 bytes, at most 67,108,864"),
        (lambda: bomb(15_360, 8_640), Fault.TOO_LARGE, "15360x8640 pixels, at most 8192 a side"),
        (lambda: bomb(60_000, 60_000), Fault.TOO_LARGE, "at most 8192 a side"),
        (lambda: bomb(8_193, 1), Fault.TOO_LARGE, "8193x1 pixels"),
        (
            lambda: file(scene(), "WEBP", save_all=True, append_images=[scene(mode="L").convert("RGB")], duration=9),
            Fault.MALFORMED,
            "animated: it has 2 pictures",
        ),
        (
            lambda: file(scene(), "PNG", save_all=True, append_images=[scene(mode="L").convert("RGB")], duration=9),
            Fault.MALFORMED,
            "animated: it has 2 pictures",
        ),
    ],
)
def test_what_is_no_picture_or_too_large_is_refused_with_the_bound(
    data: Callable[[], bytes], fault: Fault, words: str
) -> None:
    for make in (lambda one: beginning(one), lambda one: beginning(file(scene()), one)):
        with pytest.raises(LocalError) as caught:
            make(data())
        assert caught.value.fault is fault
        assert words in caught.value.what


def test_a_mask_says_where() -> None:
    mask = Image.new("L", (96, 64), 0)
    ImageDraw.Draw(mask).rectangle((0, 0, 47, 63), fill=200)
    begin = beginning(file(scene()), file(mask, "JPEG"))
    assert (begin.task, begin.size) == (Task.INPAINT, (96, 64))
    made = begin.inputs(96, 64)
    assert inputs.objection(replace(SPEC, task=Task.INPAINT, width=96), made) is None
    where = drawn(made[1].data)
    assert where.mode == "L"
    assert [where.getpixel((x, 30)) for x in (5, 90)] == [255, 0]
    assert set(where.tobytes()) == {0, 255}


def test_a_mask_of_another_size_or_without_white_is_refused() -> None:
    with pytest.raises(LocalError, match=r"the mask has 64x64 pixels, the image 96x64"):
        beginning(file(scene()), file(scene(64, 64)))
    nothing = beginning(file(scene()), file(Image.new("L", (96, 64), 100)))
    with pytest.raises(LocalError, match="no white"):
        nothing.inputs(96, 64)
    off_the_middle = Image.new("L", (96, 64), 0)
    off_the_middle.putpixel((0, 0), 255)
    with pytest.raises(LocalError, match="no white"):  # it is cropped away
        beginning(file(scene()), file(off_the_middle)).inputs(64, 64)


def test_outpainting_adds_around_the_image() -> None:
    begin = beginning(file(scene(64, 64)), margins=(32, 0, 16, 16))
    assert (begin.task, begin.size) == (Task.INPAINT, (112, 80))
    made = begin.inputs(112, 80)
    assert inputs.objection(replace(SPEC, task=Task.INPAINT, width=112, height=80), made) is None
    image, where = (drawn(one.data) for one in made)
    assert [where.getpixel(at) for at in ((31, 0), (32, 0), (95, 63), (96, 63), (95, 64))] == [255, 0, 0, 255, 255]
    assert [image.getpixel(at) for at in ((0, 0), (0, 79), (111, 79))] == [(255, 0, 0), (255, 0, 0), (0, 0, 255)]
    assert image.crop((32, 0, 96, 64)).tobytes() == scene(64, 64).tobytes()
    small = begin.inputs(64, 64)  # a model that draws one size alone: the image shrinks
    assert drawn(small[1].data).getpixel((47, 47)) == 0
    assert "scaled" in begin.words(64, 64)


@pytest.mark.parametrize(
    ("margins", "words"),
    [
        ((0, 0, 0, 0), "not all 0"),
        ((-8, 0, 0, 0), "each 0 to 4096"),
        ((0, 0, 0, 5000), "each 0 to 4096"),
    ],
)
def test_margins_that_cannot_be_meant(margins: Any, words: str) -> None:
    with pytest.raises(LocalError, match=words):
        beginning(file(scene()), margins=margins)


def test_margins_must_leave_room_for_the_image() -> None:
    begin = beginning(file(scene()), margins=(32, 0, 32, 0))
    with pytest.raises(LocalError, match="leave 0x64 of 64x64 pixels"):
        begin.inputs(64, 64)


def test_one_of_mask_and_margins() -> None:
    with pytest.raises(LocalError, match="an outpainting adds"):
        beginning(file(scene()), file(scene()), (8, 8, 8, 8))


def test_the_size_that_a_picture_asks_for() -> None:
    assert beginning(file(scene(513, 517))).size == (512, 520)
    assert beginning(file(scene(3, 3))).size == (8, 8)
    with pytest.raises(LocalError, match="4,194,304 in all"):
        beginning(file(scene(2400, 2400))).size  # noqa: B018


def test_inputs_of_too_many_bytes_are_refused_with_the_limit() -> None:
    noise = Image.frombytes("RGB", (2048, 2048), Dice(1).randbytes(3 * 2048 * 2048))
    begin = beginning(file(noise))
    with pytest.raises(LocalError, match="at most 12,582,912"):
        begin.inputs(2048, 2048)
