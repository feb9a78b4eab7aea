"""What must be so when all is over: everything settled, everybody agrees, nobody lost more than was agreed."""

from __future__ import annotations

from typing import Any

from judges import upfront_agreed
from judging import insist
from stage import Stage

from gpufair.protocol import journal as journals
from gpufair.protocol.messages import Query, QueryKind

_NEVER_FUNDED = ("proposed", "agreed", "declined", "expired", "abandoned")


def settle(stage: Stage) -> None:
    """Judge the end of a run, lease by lease."""
    stage.watch.whole()
    for bank in stage.banks.values():
        audit(bank)
        holds = bank.db.rows("SELECT lease, payer, payee, amount, captured, released, closed FROM holds")
        insist(all(closed for *_, closed in holds), "a hold is still open", holds)
        for lease, payer, payee, _, captured, released, _ in holds:
            shop, client = stage.shops.get(payee), stage.buyers.get(payer)
            if shop is not None and shop.honest:
                _provider_lost(shop, lease, captured)
            if client is not None and client.honest and bank.honest:
                _wallet_agrees(client, lease, captured, released)
                if shop is not None and shop.honest:
                    honest_pair(client, shop, lease, captured)
    for shop in filter(lambda one: one.honest, stage.shops.values()):
        _all_closed(shop)
    for client in stage.buyers.values():
        for lease, state, ledger in client.db.rows("SELECT id, state, ledger FROM leases"):
            if not stage.banks[ledger].db.rows("SELECT 1 FROM holds WHERE lease=?", lease):
                insist(state in _NEVER_FUNDED, "a lease without a hold", state)


def _all_closed(shop: Any) -> None:
    states = shop.db.rows("SELECT state FROM leases")
    insist(all(s in ("settled", "abandoned", "expired") for (s,) in states), "a provider's lease is open", states)
    insist(not shop.db.rows("SELECT 1 FROM outbox WHERE answer = x''"), "an order was never answered")
    insist(not shop.running, "a worker still runs")


def _provider_lost(shop: Any, lease: bytes, captured: int) -> None:
    found = shop.db.rows("SELECT window FROM leases WHERE id=?", lease)
    insist(bool(found), "a hold for a lease that its provider does not know")
    [(made,)] = shop.db.rows("SELECT coalesce(sum(amount), 0) FROM deliveries WHERE lease=?", lease)
    [(upfront,)] = shop.db.rows("SELECT coalesce(sum(upfront), 0) FROM attempts WHERE lease=?", lease)
    lost = made + upfront - captured
    insist(lost <= found[0][0], "the provider lost more than the window", lost, found[0][0])


def _wallet_agrees(client: Any, lease: bytes, captured: int, released: int) -> None:
    [(state, *mine, hold)] = client.db.rows("SELECT state, captured, released, hold FROM leases WHERE id=?", lease)
    if hold:
        insist(state == "settled", "the client's lease is not settled", state)
        insist(mine == [captured, released], "the wallet disagrees with the ledger", mine, captured, released)


def honest_pair(client: Any, shop: Any, lease: bytes, captured: int) -> None:
    """Two honest parties: every picture that was paid for is open, and nothing else was paid."""
    got = client.db.rows("SELECT amount, length(plain), length(key) FROM deliveries WHERE lease=?", lease)
    opened = sum(amount for amount, plain, _ in got if plain)
    insist(all(plain for _, plain, key in got if key), "a key did not open its picture")
    agreed = upfront_agreed(client, lease)
    insist(opened <= captured <= opened + agreed, "not what the pictures cost", captured, opened, agreed)
    query = "SELECT coalesce(sum(amount), 0) FROM deliveries WHERE lease=? AND revealed"
    [(due,)] = shop.db.rows(query, lease)
    insist(captured >= due, "revealed and not paid", captured, due)


def audit(bank: Any) -> None:
    """The ledger's own journal, executed again by the operator and by the client's side."""
    auditor = journals.Auditor(bank.desk.did)
    while True:
        query = Query(bank.desk.head(bank.desk.did), QueryKind.JOURNAL, bank.desk.did, b"", auditor.sequence + 1)
        page = bank.ledger.journal(bank.desk.sign(query).envelope)
        auditor.feed(page.events, page.head)
        if not page.events:
            break
    insist(auditor.report().ok, "the journal does not audit", auditor.report().findings)
    for did, _, available, held in bank.db.rows("SELECT did, issued, available, held FROM accounts"):
        funds = auditor.funds(did)
        insist((funds.available, funds.held) == (available, held), "the journal adds up to something else", did)
