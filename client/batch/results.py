"""The files of a batch. Rule: pictures lie in order under the names that the batch was made with, receipts inside.

Beside them `index.json` says what each is, who drew it and what it cost, and `sheet.png` shows them all.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from gpufair.client.batch import records
from gpufair.client.batch.records import Batch, Bought
from gpufair.client.pictures.verify import sealed_with
from gpufair.client.wallet import purchases
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import Fault, LocalError

INDEX, SHEET = "index.json", "sheet.png"
SHEET_MAX = 1024
"""Pictures on a contact sheet; of a larger batch the first ones."""
_CELL, _GAP = 128, 4
_PAPER, _EMPTY = (255, 255, 255), (225, 225, 225)


def png_of(store: RowStore, bought: Bought) -> bytes:
    """A picture with its receipt. Raises LocalError if the wallet has it no more."""
    purchase = purchases.by_id(store, bought.lease, bought.job)
    picture = purchase.opened[0]
    return sealed_with(purchases.png(store, picture), picture.receipt)


def prepare(folder: Path) -> None:
    """Make the folder. Raises LocalError where it can't be, or has files of something else in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        strangers = [one.name for one in folder.iterdir()]
    except OSError as error:
        raise LocalError(Fault.UNAVAILABLE, f"{folder} cannot be made: {error.strerror}") from error
    if strangers:
        raise LocalError(Fault.CONFLICT, f"{folder} is not empty", hint="choose another folder with -o")


def write(folder: Path, name: str, png: bytes) -> Path:
    """Write one picture, whole or not at all. Raises LocalError."""
    path = folder / name
    part = folder / f".{name}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.write_bytes(png)
        part.replace(path)
    except OSError as error:
        hint = "the pictures are safe in the wallet: gpufair resume writes them again"
        raise LocalError(Fault.UNAVAILABLE, f"{path} cannot be written: {error.strerror}", hint=hint) from error
    return path


def write_index(store: RowStore, folder: Path, batch: Batch, here: dict[int, Bought]) -> Path:
    """Write what each picture is. Raises LocalError."""
    pictures = [entry(store, batch, place, here.get(place)) for place in range(len(batch.items))]
    body = {
        "schema": "gpufair/batch-index/1", "batch": batch.id.hex(), "title": batch.row.title,
        "options": dict(batch.options), "pictures": pictures,
    }  # fmt: skip
    return write(folder, INDEX, json.dumps(body, indent=1).encode())


def write_sheet(folder: Path, pngs: Sequence[bytes | None]) -> Path:
    """Write a contact sheet: in order, row by row, grey where a picture is missing. Raises LocalError."""
    shown = pngs[:SHEET_MAX]
    columns = math.ceil(math.sqrt(len(shown)))
    lines = math.ceil(len(shown) / columns)
    side = _CELL + _GAP
    sheet = Image.new("RGB", (columns * side + _GAP, lines * side + _GAP), _PAPER)
    for place, png in enumerate(shown):
        line, column = divmod(place, columns)
        corner = (_GAP + column * side, _GAP + line * side)
        if png is None:
            sheet.paste(_EMPTY, (*corner, corner[0] + _CELL, corner[1] + _CELL))
        else:
            picture = _fitted(png)
            sheet.paste(picture, (corner[0] + (_CELL - picture.width) // 2, corner[1] + (_CELL - picture.height) // 2))
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    return write(folder, SHEET, data.getvalue())


def _fitted(png: bytes) -> Image.Image:
    """A picture that fits its cell: scaled down smoothly, or up by whole pixels."""
    with Image.open(io.BytesIO(png)) as opened:
        image = opened.convert("RGB")
    scale = _CELL / max(image.size)
    if scale >= 1:
        return image.resize((image.width * int(scale), image.height * int(scale)), Image.Resampling.NEAREST)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.LANCZOS)


def entry(store: RowStore, batch: Batch, place: int, bought: Bought | None) -> dict[str, Any]:
    """What a picture is: its file and options, and once it is here who drew it, as which job, and from which step on.

    `price` is what it has cost in all, tries that came to nothing included.
    """
    item = batch.items[place]
    entry: dict[str, Any] = {"place": place, "file": item.name, "options": json.loads(item.options)}
    entry["notes"] = json.loads(item.notes)
    if bought is None:
        return {**entry, "here": False}
    purchase = purchases.by_id(store, bought.lease, bought.job)
    picture = purchase.opened[0]
    return {
        **entry, "here": True, "job": bought.job.hex(), "lease": bought.lease.hex(),
        "provider": purchase.lease.provider, "price": records.spent_on(store, batch.id, place),
        "went_on_after": purchase.spec.done,
        "sha256": picture.claim.plain_sha256.hex(),
    }  # fmt: skip
