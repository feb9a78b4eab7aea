"""The directories that a buyer asks. Rule: of each it is said how many offers count, and why no more."""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from enum import StrEnum

from gpufair.protocol.addresses import Reach
from gpufair.protocol.edge.refusals import RemoteRefusal
from gpufair.protocol.errors import FairError, Fault, PeerError
from gpufair.protocol.messages import Envelope, Role, SearchAnswer

_CLOCKS = (Fault.EXPIRED, Fault.FROM_THE_FUTURE)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that was not taken, from which node, and why."""

    source: str
    what: str
    fault: Fault = Fault.UNSPECIFIED


class Silence(StrEnum):
    """Why a directory gives no offer that counts; the words are those of `gpufaird status`."""

    NONE = ""
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    CLOCK = "clock off"
    DISPROVED = "disproved"
    FLOODED = "flooded"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class Source:
    """One directory that was asked: who answered, how many offers it showed that count, and why no more."""

    address: str
    did: str
    """Empty: nobody did, and the address names nobody."""
    reached: bool
    roles: tuple[Role, ...]
    offers: int
    silence: Silence = Silence.NONE
    why: str = ""


@dataclass
class Answer:
    """What one directory said, before any of it is checked."""

    source: str
    did: str
    reached: bool = False
    roles: tuple[Role, ...] = ()
    silence: Silence = Silence.NONE
    heard: Reach = Reach.GLOBAL
    """How far away it is: what it knows of may lie as near as that."""
    records: list[Envelope] = field(default_factory=list)
    offers: list[Envelope] = field(default_factory=list)
    evidence: list[Envelope] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)
    search: SearchAnswer | None = None
    """What it found, where it was asked to search."""


def silence_of(error: FairError) -> Silence:
    """Why a directory that failed like this gives nothing."""
    if isinstance(error, RemoteRefusal):
        return Silence.REFUSED
    if error.fault in _CLOCKS:
        return Silence.CLOCK
    return Silence.DISPROVED if isinstance(error, PeerError) else Silence.UNREACHABLE


def judged(answer: Answer, good: Set[Envelope], troubles: Iterable[Trouble]) -> Source:
    """How a directory did: its offers that are the newest of their sellers and prove themselves count."""
    count, own = sum(offer in good for offer in answer.offers), [t for t in troubles if t.source == answer.source]
    silence, why = answer.silence, own[0].what if own else ""
    if not silence and not answer.offers:
        silence, why = Silence.EMPTY, "it knows of no offer"
    elif not silence and not count:
        clock = any(trouble.fault in _CLOCKS for trouble in own)
        silence = Silence.CLOCK if clock else Silence.DISPROVED
        why = f"none of its {len(answer.offers)} offers counts: {why or 'newer ones have been seen'}"
    return Source(answer.source, answer.did, answer.reached, answer.roles, count, silence, why)
