"""What attempts begin from, on its way in. Rule: an attempt gets exactly the bytes that its Run names, or is refused.

Inputs have no answer of their own: what is wrong with one is remembered, and told when its attempt's Run comes. They
lie in memory, so there are bounds for one attempt and for all; of too many, those that have waited longest are dropped.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gpufair.protocol import limits
from gpufair.protocol.frames import FailCode, Input, Run
from gpufair.provider.inference.engine import RefusedError


@dataclass
class _Waiting:
    """The inputs of one attempt whose Run has not come yet."""

    totals: list[int] = field(default_factory=list)
    data: list[bytearray] = field(default_factory=list)
    problem: str = ""

    @property
    def size(self) -> int:
        """Bytes held."""
        return sum(len(one) for one in self.data)

    def add(self, piece: Input) -> None:
        """Take the next piece; after the first that can't be right, nothing is held any more."""
        self.problem = self.problem or self._objection(piece)
        if self.problem:
            self.data.clear()
            return
        if piece.index == len(self.data):
            self.totals.append(piece.total)
            self.data.append(bytearray())
        self.data[-1] += piece.data

    def _objection(self, piece: Input) -> str:
        return next(self._objections(piece), "")

    def _objections(self, piece: Input) -> Iterator[str]:
        count, index = len(self.data), piece.index
        begins = index == count and (not count or len(self.data[-1]) == self.totals[-1])
        if not begins and index != count - 1:
            yield f"a piece of input {index} came where input {max(0, count - 1)} was under way"
            return
        here, total = (0, piece.total) if begins else (len(self.data[-1]), self.totals[-1])
        if index >= limits.RUN_INPUTS_MAX:
            yield f"input {index} was sent, an attempt has {limits.RUN_INPUTS_MAX} at most"
        if piece.total != total:
            yield f"input {index} has {total} bytes in one piece and {piece.total} in another"
        if piece.offset != here:
            yield f"bytes of input {index} from {piece.offset}, {here} are here"
        if here + len(piece.data) > total:
            yield f"{here + len(piece.data)} bytes of input {index}, it has {total}"
        whole = sum(self.totals) + (total if begins else 0)
        if whole > limits.WORKER_INPUTS_BYTES:
            yield f"an attempt's inputs have {whole} bytes, the limit is {limits.WORKER_INPUTS_BYTES}"


class Inbox:
    """The inputs of all attempts whose Run has not come yet."""

    def __init__(self, most_bytes: int = limits.WORKER_INPUTS_ALL_BYTES) -> None:
        self._room = most_bytes
        self._waiting: OrderedDict[bytes, _Waiting] = OrderedDict()

    def put(self, piece: Input) -> None:
        """Keep a piece of an attempt's inputs."""
        self._waiting.setdefault(piece.attempt, _Waiting()).add(piece)
        while len(self._waiting) > limits.QUEUE_MAX or self._size() > self._room:
            self._waiting.popitem(last=False)

    def claim(self, run: Run) -> tuple[bytes, ...]:
        """The inputs that the attempt names, in its order. `RefusedError` if those are not the ones that came."""
        came = self._waiting.pop(run.attempt, _Waiting())
        problem = came.problem or _mismatch(run, came.data)
        if problem:
            raise RefusedError(FailCode.BAD_REQUEST, problem)
        return tuple(bytes(one) for one in came.data)

    def _size(self) -> int:
        return sum(one.size for one in self._waiting.values())


def given(run: Run, inputs: Sequence[bytes], kind: str) -> bytes:
    """The one input of this kind, which the attempt names."""
    [data] = [data for ref, data in zip(run.inputs, inputs, strict=True) if ref.kind == kind]
    return data


def _mismatch(run: Run, came: Sequence[bytearray]) -> str:
    if len(came) != len(run.inputs):
        return f"{len(came)} inputs were sent, the attempt names {len(run.inputs)}"
    for index, (ref, data) in enumerate(zip(run.inputs, came, strict=True)):
        if len(data) != ref.length:
            return f"input {index} has {len(data)} bytes, the attempt names {ref.length}"
        if hashlib.sha256(data).digest() != ref.sha256:
            return f"input {index} is not the one that the attempt names: its digest is another"
    return ""
