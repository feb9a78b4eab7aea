"""Prompts as the model reads them. Rule: a text is encoded once as long as it is remembered, and to the same bits.

The empty negative prompt is in most jobs, and a buyer's prompt in many of its jobs in a row.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch

from gpufair.protocol import limits
from gpufair.protocol.frames import Run
from gpufair.provider.inference.request import guided


class Words:
    """Embeddings of texts by model, the longest unused forgotten first. To be used under `torch.no_grad`."""

    def __init__(self, where: torch.device, most_bytes: int = limits.WORKER_WORDS_BYTES) -> None:
        self._device = where
        self._room = most_bytes
        self._known: OrderedDict[tuple[bytes, str], torch.Tensor] = OrderedDict()

    def of(self, pipeline: Any, run: Run) -> torch.Tensor:
        """What the denoiser reads, (1, tokens, width); for guidance the negative prompt before it, (2, tokens, width).

        What the text encoder can't hold is cut off.
        """
        positive = self._encoded(pipeline, run.model, run.prompt)
        if not guided(run):
            return positive
        return torch.cat([self._encoded(pipeline, run.model, run.negative_prompt), positive])

    def _encoded(self, pipeline: Any, model: bytes, text: str) -> torch.Tensor:
        known = self._known.pop((model, text), None)
        if known is None:
            known, _ = pipeline.encode_prompt(text, self._device, 1, False)
            self._room -= known.nbytes
        self._known[model, text] = known
        while self._room < 0 and len(self._known) > 1:
            _, oldest = self._known.popitem(last=False)
            self._room += oldest.nbytes
        return known
