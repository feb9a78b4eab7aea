"""The JSON objects of batches (docs/cli.md). Rule: a field keeps its name and meaning for ever."""

from __future__ import annotations

import json
from typing import Any

from gpufair.client.batch import records
from gpufair.client.batch.results import entry
from gpufair.client.wallet.batches import BatchKey
from gpufair.protocol.edge.rows import RowStore

Object = dict[str, Any]


def batch_summary(store: RowStore, key: BatchKey) -> Object:
    """How far a batch is."""
    items = records.load(store, key.id).items
    return {
        "batch": key.id.hex(), "title": key.title, "count": len(items), "here": len(records.here(store, key.id)),
        "budget": key.budget, "spent": records.spent(store, key.id), "folder": key.folder,
        "created_ms": key.created_ms,
    }  # fmt: skip


def batch_object(store: RowStore, batch: bytes) -> Object:
    """A batch with its pictures in order, and what each provider drew and was paid."""
    key = next(one for one in records.listed(store) if one.id == batch)
    found, here = records.load(store, batch), records.here(store, batch)
    drawn: dict[str, list[Object]] = {}
    pictures = [entry(store, found, place, here.get(place)) for place in range(len(found.items))]
    for one in pictures:
        if one["here"]:
            drawn.setdefault(one["provider"], []).append(one)
    paid = records.paid_to(store, batch)
    providers = [{"provider": did, "pictures": len(drawn.get(did, [])), "spent": paid[did]} for did in sorted(paid)]
    return {**batch_summary(store, key), "providers": providers, "pictures": pictures, "options": _options(found)}


def _options(batch: records.Batch) -> Object:
    plain: Object = json.loads(batch.row.options)
    return plain
