"""Bodies of jobs on their way in. Rule: pieces come in order, each once, and as many bytes as the header says.

A body may hold megabytes of pictures. Its pieces lie in memory until the last has come, for each stream by itself: a
client whose stream breaks sends all of them again on the next one. What is whole goes to disk, and is opened when a
worker is free.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gpufair.protocol import inputs, limits, sealing, wire
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Body, JobBody, JobHeader, Reason, ReasonCode


class WrongBodyError(PeerError):
    """A body that is not what its header says; `reason` is for the client."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(Fault.MALFORMED, str(reason))
        self.reason = reason


@dataclass
class Room:
    """How many bytes of unfinished bodies lie in memory, of all streams together."""

    used: int = 0
    most: int = limits.BODIES_BYTES_MAX


class Pieces:
    """The bodies that are under way on one stream."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._parts: dict[bytes, bytearray] = {}

    def take(self, piece: Body, header: JobHeader) -> bytes | None:
        """One more piece; the whole sealed body with the last. Raises WrongBodyError, and forgets what there was."""
        have = self._parts.setdefault(piece.job, bytearray())
        wrong = self._objection(piece, len(have), header.body_length)
        if wrong is not None:
            self.drop(piece.job)
            raise WrongBodyError(wrong)
        have += piece.sealed
        self._room.used += len(piece.sealed)
        if len(have) < header.body_length:
            return None
        whole = bytes(have)
        self.drop(piece.job)
        if hashlib.sha256(whole).digest() != header.body_sha256:
            detail = "the sealed body is not the one that the header names"
            raise WrongBodyError(Reason(ReasonCode.BODY_WRONG, detail=detail))
        return whole

    def _objection(self, piece: Body, have: int, length: int) -> Reason | None:
        """Why a piece can't be the next one: a gap or an overlap, too much or too little, no room for it."""
        size, due = len(piece.sealed), min(limits.CHUNK, length - have)
        if piece.offset != have:
            return Reason(ReasonCode.BODY_WRONG, piece.offset, have, "bytes", "where the next piece begins")
        if size != due:
            return Reason(ReasonCode.BODY_WRONG, size, due, "bytes", "how much the next piece holds")
        if self._room.used + size > self._room.most:
            return Reason(ReasonCode.LIMIT, self._room.used + size, self._room.most, "bytes", "of bodies on their way")
        return None

    def drop(self, job: bytes) -> None:
        """Forget what there is of a body."""
        self._room.used -= len(self._parts.pop(job, b""))

    def close(self) -> None:
        """The stream is gone."""
        for job in list(self._parts):
            self.drop(job)


def opened(sealed: bytes, key: X25519PrivateKey, header: JobHeader) -> JobBody:
    """The body of a job, checked against its header. Raises PeerError; WrongBodyError says which of them is wrong."""
    plain = sealing.open_plain(sealed, key, lease=header.lease, job=header.job)
    if header.plain_sha256 and hashlib.sha256(plain).digest() != header.plain_sha256:
        detail = "what is in the sealed body is not what the header names"
        raise WrongBodyError(Reason(ReasonCode.BODY_WRONG, detail=detail))
    body = wire.decode(JobBody, plain)
    objection = inputs.objection(header.spec, body.inputs)
    if objection is not None:
        raise WrongBodyError(objection)
    return body
