"""A receipt inside its picture. Rule: taking the receipt out gives back, byte for byte, the PNG that it describes.

The receipt's envelope goes, as base64, into one `tEXt` chunk right before `IEND`. Pure: bytes in, bytes out.
"""

from __future__ import annotations

import base64
import binascii
import struct
import zlib
from collections.abc import Iterator

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, PeerError

SIGNATURE = b"\x89PNG\r\n\x1a\n"
KEYWORD = b"gpufair-receipt"
_TEXT, _END = b"tEXt", b"IEND"
_HEAD = struct.Struct(">I4s")
_TEXT_MAX = 512 * limits.KIB
_FILE_MAX = limits.OUTPUT_MAX + limits.MIB


def insert(png: bytes, receipt: bytes) -> bytes:
    """The picture with a receipt (an envelope's wire bytes) in it. Raises PeerError if it is no PNG or has one."""
    if any(_is_receipt(kind, body) for _, _, kind, body in _chunks(png)):
        raise PeerError(Fault.CONFLICT, "the picture carries a receipt already")
    end = next(start for start, _, kind, _ in _chunks(png) if kind == _END)
    return png[:end] + _chunk(_TEXT, KEYWORD + b"\0" + base64.b64encode(receipt)) + png[end:]


def extract(data: bytes) -> tuple[bytes, bytes]:
    """(the PNG as it was before, the receipt's bytes). Raises PeerError: no PNG, no receipt, more than one."""
    found = [(start, end, body) for start, end, kind, body in _chunks(data) if _is_receipt(kind, body)]
    if len(found) != 1:
        what = "carries no receipt" if not found else "carries more than one receipt"
        raise PeerError(Fault.UNKNOWN, f"the picture {what}")
    start, end, body = found[0]
    try:
        receipt = base64.b64decode(body[len(KEYWORD) + 1 :], validate=True)
    except binascii.Error as error:
        raise PeerError(Fault.MALFORMED, "the receipt in the picture is not base64") from error
    return data[:start] + data[end:], receipt


def is_png(data: bytes) -> bool:
    """Whether it is a PNG as far as its chunks tell."""
    try:
        return sum(1 for _ in _chunks(data)) > 1
    except PeerError:
        return False


def _is_receipt(kind: bytes, body: bytes) -> bool:
    return kind == _TEXT and body.startswith(KEYWORD + b"\0")


def _chunk(kind: bytes, body: bytes) -> bytes:
    return _HEAD.pack(len(body), kind) + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(data: bytes) -> Iterator[tuple[int, int, bytes, bytes]]:
    """Every chunk as (start, end, kind, body), its CRC checked; the last is IEND, and nothing follows it."""
    if not data.startswith(SIGNATURE) or len(data) > _FILE_MAX:
        raise PeerError(Fault.MALFORMED, "this is not a PNG picture")
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, kind = _HEAD.unpack_from(data, at)
        end = at + 12 + length
        if end > len(data) or (kind == _TEXT and length > _TEXT_MAX):
            break
        body = data[at + 8 : end - 4]
        if zlib.crc32(kind + body) != int.from_bytes(data[end - 4 : end], "big"):
            raise PeerError(Fault.MALFORMED, "the PNG is damaged: a checksum is wrong")
        yield at, end, kind, body
        at = end
        if kind == _END:
            break
    else:
        raise PeerError(Fault.MALFORMED, "the PNG is cut off")
    if at != len(data) or kind != _END:
        raise PeerError(Fault.MALFORMED, "the PNG is damaged: its chunks don't fill it")
