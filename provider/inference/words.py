"""Prompts as the model reads them. Rule: a text is encoded once as long as it is remembered, and to the same bits.

The empty negative prompt is in most jobs, and a buyer's prompt in many of its jobs in a row.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from gpufair.protocol import limits
from gpufair.protocol.frames import Run
from gpufair.provider.inference.request import Wanted, guided


class Words:
    """Embeddings of texts by model and adapters, the longest unused forgotten first. For use under `torch.no_grad`."""

    def __init__(self, where: torch.device, most_bytes: int = limits.WORKER_WORDS_BYTES) -> None:
        self._device = where
        self._room = most_bytes
        self._known: OrderedDict[tuple[bytes, Wanted, str], torch.Tensor] = OrderedDict()

    def of(self, pipeline: Any, run: Run, reading: Wanted = ()) -> torch.Tensor:
        """What the denoiser reads, (1, tokens, width); for guidance the negative prompt before it, (2, tokens, width).

        What the text encoder can't hold is cut off. `reading` are the adapters under which it reads, if they change it.
        """
        positive = self._encoded(pipeline, (run.model, reading, run.prompt))
        if not guided(run):
            return positive
        return torch.cat([self._encoded(pipeline, (run.model, reading, run.negative_prompt)), positive])

    def _encoded(self, pipeline: Any, key: tuple[bytes, Wanted, str]) -> torch.Tensor:
        known = self._known.pop(key, None)
        if known is None:
            known, _ = pipeline.encode_prompt(key[-1], self._device, 1, False)
            self._room -= known.nbytes
        self._known[key] = known
        while self._room < 0 and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._room += oldest.nbytes
        return known
