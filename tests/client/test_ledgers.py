"""Whose ledger it is."""

from __future__ import annotations

from typing import Any

from gpufair.client.ledgers import seller_runs_it
from gpufair.protocol.messages import LedgerRef


def test_a_ledger_on_the_sellers_own_node_is_the_sellers_whatever_did_it_uses(a_seller: Any) -> None:
    provider, other = a_seller(1), a_seller(2)
    card, same_node = provider.record(), other.record()
    elsewhere = other.record(tls_certificate=b"another")
    assert seller_runs_it(LedgerRef(provider.desk.did, "a:1"), None, card)
    assert seller_runs_it(LedgerRef(other.desk.did, "a:1"), same_node, card)
    assert not seller_runs_it(LedgerRef(other.desk.did, "a:1"), elsewhere, card)
