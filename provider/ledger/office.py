"""The ledger room as the gRPC edge wants it. Rule: orders go through the one writer; its answers leave as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gpufair.protocol.journal import JournalPage
from gpufair.protocol.messages import Envelope
from gpufair.provider.ledger import Ledger, Store, Writer
from gpufair.provider.ledger.audit import audit


class LedgerService:
    """Serves a ledger."""

    def __init__(self, writer: Writer, ledger: Ledger, store: Store) -> None:
        self._writer, self._ledger, self._store = writer, ledger, store

    async def submit(self, order: Envelope) -> Envelope:
        """The ledger's signed answer to an order, on disk before it is given."""
        return await self._writer.submit(order)

    async def ask(self, query: Envelope) -> Envelope:
        """The ledger's signed answer to a query."""
        return await self._writer.ask(query)

    async def journal(self, query: Envelope) -> tuple[Sequence[bytes], Envelope]:
        """A page of events with the signed head; a signed decline stands alone in its place."""
        page = await self._writer.journal(query)
        return (page.events, page.head) if isinstance(page, JournalPage) else ((), page)

    def status(self) -> dict[str, Any]:
        """Accounts, holds, events and credits outstanding."""
        return asdict(self._ledger.status())

    async def audit(self) -> dict[str, Any]:
        """Execute the journal again and compare every table with it, while the book is in use."""
        found = await asyncio.to_thread(audit, self._ledger, self._store)
        findings = [{"event": finding.sequence, "what": finding.what} for finding in found.findings]
        return {"ok": found.ok, "events": found.sequence, "head": found.hash.hex(), "findings": findings}

    def close(self) -> None:
        """Finish what is queued, then close the book."""
        self._writer.close()
        self._store.close()
