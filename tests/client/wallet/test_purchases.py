"""What the wallet says of leases and jobs: whose share a cost is, and which leases nobody needs any more."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from scenario import spec

from gpufair.client.wallet import purchases
from gpufair.client.wallet.deliveries import DeliveryRow
from gpufair.protocol import limits
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import JobBody, Receipt


def unneeded(d: Any) -> list[bytes]:
    return [row.id for row in purchases.unneeded(d.wallet, d.clock.ms, young_ms=limits.MINUTE)]


def test_a_lease_without_a_job_is_somebodys_for_a_while(deal: Any) -> None:
    d = deal()
    assert unneeded(d) == []
    d.clock.ms += limits.MINUTE
    assert unneeded(d) == [d.lease]


def test_a_lease_for_one_job_is_done_with_it(deal: Any) -> None:
    price = deal().session.place(spec(2, 1), JobBody(bytes(16), "a cat", "", 7, 1000), deadline_ms=1).events[0].total
    d = deal(cap=price)
    job = d.order()
    assert unneeded(d) == []
    d.pump()
    d.work(d.queue.pop())
    d.pump()
    assert purchases.by_id(d.wallet, d.lease, job).job.state == "paid"
    assert unneeded(d) == [d.lease]


def test_a_lease_with_room_for_more_is_left_until_it_is_idle_for_too_long(deal: Any) -> None:
    d = deal(cap=5000)
    d.buy()
    d.clock.ms += d.terms.idle_ms - 1
    assert unneeded(d) == []
    d.clock.ms += 1
    assert unneeded(d) == [d.lease]


def test_each_job_of_a_lease_costs_its_own_share(deal: Any) -> None:
    d = deal(cap=5000, minimum=200, window=200)
    jobs = [d.buy() for _ in range(3)]
    spent = [purchases.by_id(d.wallet, d.lease, job).spent for job in jobs]
    assert spent == [200, 200, 200], "the top-up to the minimum included"
    assert sum(spent) == d.session.account().spent


def test_looking_at_purchases_reads_no_picture(deal: Any) -> None:
    """At 64 large pictures a look would otherwise cost hundreds of megabytes, and there is one after every word."""
    d, large = deal(cap=5000), 8 * limits.MIB
    jobs = [d.buy() for _ in range(3)]
    with d.wallet.begin() as rows:
        rows.change(DeliveryRow, {"lease": d.lease}, plain=b"\x89PNG" + bytes(large), cipher=bytes(large))
    looks = {
        "standing": lambda: purchases.standing(d.wallet, d.lease, jobs[0]).state,
        "by_id": lambda: purchases.by_id(d.wallet, d.lease, jobs[0]).opened[0].claim.picture,
        "history": lambda: [len(one.opened) for one in purchases.history(d.wallet, 5)],
        "find": lambda: purchases.find(d.wallet, jobs[0].hex()).pictures[0].size,
    }
    for name, look in looks.items():
        tracemalloc.start()
        try:
            assert look() in ("paid", 0, [1, 1, 1], large + 4), name
            assert tracemalloc.get_traced_memory()[1] < limits.MIB, name
        finally:
            tracemalloc.stop()
    found = purchases.find(d.wallet, jobs[0].hex())
    assert len(purchases.png(d.wallet, found.opened[0])) == large + 4


def test_a_picture_that_is_not_open_cannot_be_had(deal: Any) -> None:
    d = deal()
    job = d.order()
    d.pump()
    d.work(d.queue.pop())
    while d.downs:
        d.say(d.session.on(d.downs.pop(0)))
    found = purchases.by_id(d.wallet, d.lease, job)
    assert [(one.locked, one.is_open, one.is_false) for one in found.pictures] == [(True, False, False)]
    with pytest.raises(LocalError, match="no picture 0"):
        purchases.png(d.wallet, found.pictures[0])


def test_what_proves_a_cheat_is_named(deal: Any) -> None:
    """A picture that its key does not open to what the receipt says: the receipt itself is the proof."""
    d = deal()
    job = d.buy()
    assert purchases.by_id(d.wallet, d.lease, job).proofs == ()
    with d.wallet.begin() as rows:
        rows.change(DeliveryRow, {"lease": d.lease}, plain=b"")
    found = purchases.by_id(d.wallet, d.lease, job)
    assert found.pictures[0].is_false
    assert found.proofs == (from_bytes(found.pictures[0].receipt, Receipt).id,)
