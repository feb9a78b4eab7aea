"""Both sides' accounts against a plain reading of every row, over histories that nobody would live through."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from gpufair.client.wallet.account import Account as BuyersAccount
from gpufair.client.wallet.deliveries import DeliveryRow as Bought
from gpufair.client.wallet.store import JobRow
from gpufair.client.wallet.store import LeaseRow as BuyersLease
from gpufair.protocol import payment
from gpufair.protocol.lifecycle import ATTEMPT, JOB, AttemptState, JobState
from gpufair.protocol.messages import Lock, Voucher
from gpufair.protocol.payment import Promise
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.lookup import find
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow

WITH_PICTURES = {JobState.DELIVERED, JobState.PAID}


def voucher(d, dice: Random, unlocked: int, locks: list[tuple[int, bytes]]) -> bytes:
    chosen = tuple(Lock(amount, lock) for amount, lock in dice.sample(locks, min(len(locks), dice.randrange(6))))
    head = d.desks["client"].head(d.desks["ledger"].did, d.desks["provider"].did, parent=d.lease)
    return d.desks["client"].sign(Voucher(head, d.lease, unlocked, chosen)).bytes


def sold(d, dice: Random) -> tuple[list[AttemptRow], list[DeliveryRow]]:
    """Some jobs of the lease at the provider, in any state, with some of their pictures."""
    attempts, deliveries = [], []
    for number in range(dice.randrange(12)):
        state, count = dice.choice(list(AttemptState)), dice.randint(1, 4)
        attempt = AttemptRow(
            id=dice.randbytes(16), lease=d.lease, job=dice.randbytes(16), document=dice.randbytes(32), header=b"h",
            answer=b"a", state=state, bodied=False, upfront=dice.choice((0, 0, 7, 50)), increment=dice.randint(1, 99),
            count=count, accepted_ms=number, deadline_ms=9, ended=b"",
        )  # fmt: skip
        attempts.append(attempt)
        for picture in range(dice.randint(0, count)):
            key = dice.randbytes(32)
            deliveries.append(
                DeliveryRow(
                    d.lease, attempt.job, picture, attempt.id, b"r", b"c", b"", key, payment.hashlock(key),
                    attempt.increment, state == AttemptState.PAID or dice.random() < 0.4, number,
                )
            )  # fmt: skip
    return attempts, deliveries


@pytest.mark.parametrize("seed", range(40))
def test_the_providers_sums_are_those_of_all_its_rows(deal, seed):
    d, dice = deal(), Random(seed)
    attempts, deliveries = sold(d, dice)
    locks = [(x.amount - dice.choice((0, 0, 1)) or 1, x.hashlock) for x in deliveries] + [(5, dice.randbytes(32))]
    with d.shop.begin() as rows:
        lease = replace(find(rows, d.lease), kept=voucher(d, dice, dice.randrange(300), locks))
        rows.save(lease)
        for row in (*attempts, *deliveries):
            rows.insert(row)
    offered = Promise(9, tuple(Lock(amount, lock) for amount, lock in locks[:3]))
    with d.shop.read() as rows:
        account = Account.load(rows, lease, offered)
        committed = account.committed(rows)
    ended = {a.id for a in attempts if ATTEMPT.is_terminal(AttemptState(a.state))}
    charged = sum(a.upfront for a in attempts if a.state != AttemptState.ACCEPTED)
    revealed = sum(x.amount for x in deliveries if x.revealed)
    made = {a.id: sum(x.amount for x in deliveries if x.attempt == a.id) for a in attempts}
    assert account.jobs == len(attempts)
    assert account.upfront_due == charged
    assert account.revealed_due == revealed
    assert account.delivered_due == sum(x.amount for x in deliveries)
    assert committed == sum(a.upfront + (made[a.id] if a.id in ended else a.increment * a.count) for a in attempts)
    assert account.dearest_upfront == max((a.upfront for a in attempts), default=0)
    every = {x.hashlock for x in deliveries}
    for promise in (account.kept, offered):
        assert payment.total(promise, account.own, hold=lease.hold) == payment.total(promise, every, hold=lease.hold)
    locked = {lock.hashlock: lock.amount for lock in account.kept.locks}
    bought = [x for x in deliveries if x.hashlock in locked and (x.revealed or locked[x.hashlock] >= x.amount)]
    assert set(account.keys) == {x.key for x in bought}
    assert {x.hashlock for x in account.unpaid} == {
        x.hashlock for x in deliveries if not x.revealed and locked.get(x.hashlock, 0) < x.amount
    }
    states = [a.state for a in attempts if a.id not in ended]
    assert account.only_waits_for_money == (bool(states) and set(states) == {AttemptState.DELIVERED})
    assert account.working == bool(set(states) - {AttemptState.DELIVERED})


def bought(d, dice: Random) -> tuple[list[JobRow], list[Bought]]:
    """Some jobs of the lease in the wallet, in any state, with some of their pictures."""
    jobs, deliveries = [], []
    for number in range(dice.randrange(12)):
        state, count = dice.choice(list(JobState)), dice.randint(1, 4)
        accepted = state in WITH_PICTURES or dice.random() < 0.7
        job = JobRow(
            id=dice.randbytes(16), lease=d.lease, document=dice.randbytes(32), state=state, header=b"h", body=b"b",
            acceptance=b"a" * accepted, upfront=dice.choice((0, 0, 7, 50)) * accepted,
            increment=dice.randint(1, 99), count=count, created_ms=number, ended=b"", note="", prompt="",
            prepaid=accepted and (state in WITH_PICTURES or dice.random() < 0.7),
        )  # fmt: skip
        jobs.append(job)
        came = count if state in WITH_PICTURES else dice.randint(0, count) * accepted
        for picture in range(came):
            key, locked = dice.randbytes(32), state == JobState.PAID or dice.random() < 0.6
            opened = state == JobState.PAID or (locked and dice.random() < 0.5)
            deliveries.append(
                Bought(
                    d.lease, job.id, picture, b"r", b"c", payment.hashlock(key), job.increment, locked,
                    key if opened else b"", b"",
                )
            )  # fmt: skip
    return jobs, deliveries


@pytest.mark.parametrize("seed", range(40))
def test_the_buyers_sums_are_those_of_all_its_rows(deal, seed):
    d, dice = deal(cold_load=50), Random(seed)
    jobs, deliveries = bought(d, dice)
    with d.wallet.begin() as rows:
        lease = rows.get(BuyersLease, id=d.lease)
        locks = [(x.amount, x.hashlock) for x in deliveries if x.locked]
        lease = replace(lease, voucher=voucher(d, dice, dice.randrange(300), locks))
        rows.save(lease)
        for row in (*jobs, *deliveries):
            rows.insert(row)
    with d.wallet.read() as rows:
        account = BuyersAccount.load(rows, lease)
    made = {job.id: sum(x.amount for x in deliveries if x.job == job.id) for job in jobs}
    keys = {x.hashlock: x.key for x in deliveries if x.key}
    folded = sum(lock.amount for lock in account.signed.locks if lock.hashlock in keys)
    assert account.upfront == sum(job.upfront for job in jobs)
    assert account.prepaid == sum(job.upfront for job in jobs if job.prepaid)
    assert account.paid_for == sum(x.amount for x in deliveries if x.locked and x.key)
    assert account.committed == sum(
        job.upfront + (made[job.id] if JOB.is_terminal(JobState(job.state)) else job.increment * job.count)
        for job in jobs
    )
    assert account.promise.unlocked == account.signed.unlocked + folded
    assert account.first() is not any(job.upfront >= 50 for job in jobs if job.acceptance)
    assert {x.hashlock for x in account.deliveries} >= {x.hashlock for x in deliveries if not (x.locked and x.key)}
    for job in jobs:
        if job.state != JobState.PAID:
            others = sum(x.upfront for x in jobs if x.prepaid and x.id != job.id and not made[x.id])
            assert account.may_prepay(job.id, 1) is (others + 1 <= lease.window)
