"""A bill is computed here and held against what the provider signed; people see every line of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from scenario import spec

from gpufair.client.cli.answers import purchase_object
from gpufair.client.cli.bills import bill_lines, work_words
from gpufair.client.wallet import purchases
from gpufair.client.wallet.bill import bill
from gpufair.protocol import identity
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import JobAcceptance, JobBody
from gpufair.protocol.pricing import quote
from gpufair.protocol.units import show


def test_both_sides_have_computed_the_same_number(deal: Any) -> None:
    d = deal()
    first, second = (d.order() for _ in range(2))
    d.pump()
    for job, is_first in ((first, True), (second, False)):
        found = purchases.by_id(d.wallet, d.lease, job)
        made = bill(found)
        assert made.agrees
        assert made.quote == quote(found.spec, d.sheet, first=is_first)
        assert made.accepted == from_bytes(found.job.acceptance, JobAcceptance).doc.total
        *lines, total = bill_lines(found)
        assert len(lines) == len(made.quote.lines)
        who = identity.short(found.lease.provider)
        assert total == f"  price     {show(made.quote.total)}: {who} has signed the same number"
        assert sum(line["amount"] for line in purchase_object(found)["bill"]["quote"]["lines"]) == made.quote.total
    assert bill(purchases.by_id(d.wallet, d.lease, first)).quote.total >= made.quote.total, "the model is loaded once"


def test_what_nobody_has_accepted_is_our_own_count(deal: Any) -> None:
    d = deal()
    turn = d.session.place(spec(2, 1), JobBody(bytes(16), "a cat", "", 7, 1000), deadline_ms=1)
    found = purchases.by_id(d.wallet, d.lease, turn.events[0].job)
    made = bill(found)
    assert (made.quote.total, made.accepted, made.agrees) == (turn.events[0].total, None, False)
    assert [*bill_lines(found)][-1].endswith("has accepted nothing")
    assert purchase_object(found)["bill"]["accepted"] is None


def test_a_sum_that_differs_would_be_shown(deal: Any) -> None:
    d = deal()
    job = d.order()
    d.pump()
    found = purchases.by_id(d.wallet, d.lease, job)
    signed = from_bytes(found.job.acceptance, JobAcceptance)
    dearer = d.desks["provider"].sign(replace(signed.doc, total=signed.doc.total + 1))
    wrong = replace(found, job=replace(found.job, acceptance=dearer.bytes))
    assert not bill(wrong).agrees
    assert "by our own count, but" in [*bill_lines(wrong)][-1]


def test_work_is_what_was_computed_not_what_was_skipped() -> None:
    one = replace(spec(20, 1), width=64, height=64, guided=True)
    assert work_words(one, 20) == "163,840 step-pixels, 4,096 pixels"
    assert work_words(replace(one, guided=False), 5) == "20,480 step-pixels, 4,096 pixels"
