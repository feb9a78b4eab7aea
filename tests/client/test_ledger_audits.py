"""A ledger that is audited again. Rule: it is held to what it signed before; two tales of one past convict it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from whole_nodes import World

from gpufair.client import counters
from gpufair.client.failures import NoOfferError
from gpufair.client.wallet import accusations, bans
from gpufair.protocol import envelope, evidence
from gpufair.protocol.evidence import Proof
from gpufair.protocol.journal import Audit
from gpufair.protocol.messages import Crime, Envelope, Evidence, JournalHead


async def audit(w: World) -> Audit:
    [ref] = counters.used(w.buyer)
    report, _ = await counters.audit(w.buyer, ref)
    return report


def signs(w: World, change: Callable[[JournalHead], JournalHead]) -> None:
    """The ledger's heads pass through `change` and are signed again."""
    office = w.ledger.ledger
    assert office is not None
    honest = office.journal

    async def journal(query: Envelope) -> Any:
        events, head = await honest(query)
        return events, w.ledger.desk.sign(change(envelope.read(head, JournalHead).doc)).envelope

    office.journal = journal  # type: ignore[method-assign]


def test_an_honest_ledger_is_audited_again_and_again(world: Any) -> None:
    async def story(w: World) -> None:
        await w.buy()
        reports = [await audit(w), await audit(w)]
        await w.buy()
        reports.append(await audit(w))
        assert all(report.ok for report in reports), reports
        assert bans.banned(w.buyer.store) == {}

    world(story)


def test_two_heads_of_one_sequence_ban_the_ledger_and_are_told_to_others(world: Any) -> None:
    """One head yesterday, another one today, of as many events: neither audit alone would find two."""

    async def story(w: World) -> None:
        await w.buy()
        assert (await audit(w)).ok
        signs(w, lambda head: replace(head, hash=bytes(32)))
        assert any("two signed heads" in finding.what for finding in (await audit(w)).findings)
        ledger = w.ledger.keys.did
        assert "two journals" in bans.banned(w.buyer.store)[ledger]
        with w.buyer.store.read() as rows:
            [piece] = accusations.due(rows, w.buyer.desk)
        assert (piece.doc.accused, piece.doc.crime) == (ledger, Crime.TWO_HEADS)
        assert evidence.judge(piece.doc).proof is Proof.PROVED
        await w.buyer.market()
        there = await w.buyer.peers.meet(f"127.0.0.1:{w.provider.port}")
        told = [envelope.read(one, Evidence).doc async for one in there.directory.all_evidence((ledger,))]
        assert [one.documents for one in told] == [piece.doc.documents]
        with pytest.raises(NoOfferError, match="a ledger that is banned"):
            await w.buy()
        bans.lift(w.buyer.store, ledger)
        assert (await w.buy()).is_settled, "its owner trusts it all the same"

    world(story)


def test_a_journal_that_does_not_lead_through_what_was_signed_is_found(world: Any) -> None:
    async def story(w: World) -> None:
        await w.buy()
        before = await audit(w)
        signs(w, lambda head: replace(head, sequence=head.sequence + 1))
        assert not (await audit(w)).ok
        signs(w, lambda head: replace(head, sequence=head.sequence - 1))
        assert (await audit(w)).sequence == before.sequence, "what was bad is not what the next one is held to"
        assert bans.banned(w.buyer.store) == {}, "a bad journal is a finding, and convinces nobody else"

    world(story)
