"""What must hold in a whole market after every event. Rule: judged from what lies on disk and from what was signed.

Each document that a directory takes is judged when it is taken, a buyer's pictures when its wallet has changed; all
that a directory shows, at the end. Ledgers, leases, keys and vouchers have the judges of the pair.
"""

from __future__ import annotations

from typing import Any

from judging import Judge, insist

from gpufair.protocol import envelope, limits
from gpufair.protocol.messages import Document, Envelope
from gpufair.provider.directory import documents
from gpufair.provider.directory.documents import Held

SPREADING_MS = 40_000
"""How long a document may be on its way to everybody: four rounds."""


class DirectoryJudge:
    """No forged, stale or expired document, and no sequence that falls."""

    def __init__(self, stage: Any, node: Any) -> None:
        self.stage, self.node = stage, node
        self._sequences: dict[bytes, int] = {}

    def taken(self, held: Held, doc: Document) -> None:
        """One document was taken into a directory."""
        now = self.node.now_ms()
        insist(held.sequence > self._sequences.get(held.place, 0), "a sequence fell in a directory", held)
        self._sequences[held.place] = held.sequence
        insist(doc.head.expires_at_ms > now - limits.SKEW_MS, "an expired document was taken", held)
        known = self.stage.signed.get(held.did)
        insist(known is None or held.id in known, "a document that its issuer never published was taken", held)

    def torn(self) -> None:
        """Its disk has lost what was newest: that may come again."""
        self._sequences.clear()

    def whole(self) -> None:
        """Everything that it shows."""
        directory = self.node.directory
        directory.prune()
        shown = [*_all(directory.find_offers), *_all(directory.find_records)]
        for document in shown:
            signed = documents.read(document).signed
            envelope.authenticate(signed, verify=self.stage.verify)
            insist(signed.doc.head.expires_at_ms > self.node.now_ms(), "an expired document is shown", signed.issuer)
        insist(len(shown) == len(directory.tree), "what is shown is not what is compared", len(shown))


class WorksJudge(Judge):
    """Nobody pays twice for one picture: of all its tries one at most is signed for."""

    def changed(self) -> None:
        self.whole()

    def whole(self) -> None:
        if self.actor.honest:
            twice = self.rows(
                "SELECT t.place, count(*) FROM batch_tries t JOIN deliveries d USING (lease, job) "
                "WHERE d.locked AND d.step = 0 AND NOT t.doubtful GROUP BY t.batch, t.place HAVING count(*) > 1"
            )
            insist(not twice, "one picture is paid twice", twice)


def converged(stage: Any) -> list[str]:
    """What is missing where: each honest node that is up should know what all the honest ones show, but for news."""
    settled = [documents.read(one) for one in stage.newest() if _age_ms(stage, one) > SPREADING_MS]
    wanted = {one.place: one.sequence for one in settled}
    missing = []
    for node in stage.honest_directories():
        lacks = sum(node.directory.tree.get(place) < sequence for place, sequence in wanted.items())
        if lacks:
            missing.append(f"{node.name} lacks {lacks} of {len(wanted)}")
    return missing


def _age_ms(stage: Any, document: Envelope) -> int:
    issued: int = documents.read(document).signed.doc.head.issued_at_ms
    return int(stage.sim.now) - issued


def _all(find: Any) -> list[Envelope]:
    found: list[Envelope] = []
    after = ""
    while True:
        page, after = find(after=after)
        found += page
        if not after:
            return found
