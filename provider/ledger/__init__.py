"""The ledger role: a durable double-entry book. Rule: this room imports the protocol and no other room."""

from gpufair.provider.ledger.audit import audit
from gpufair.provider.ledger.ledger import Ledger
from gpufair.provider.ledger.store import LedgerStatus, Store, open_store
from gpufair.provider.ledger.writer import Writer

__all__ = ["Ledger", "LedgerStatus", "Store", "Writer", "audit", "open_store"]
