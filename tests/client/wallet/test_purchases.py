"""What the wallet says of leases and jobs: whose share a cost is, and which leases nobody needs any more."""

from __future__ import annotations

from typing import Any

from world import spec

from gpufair.client.wallet import purchases
from gpufair.protocol import limits
from gpufair.protocol.messages import JobBody


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
