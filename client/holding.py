"""Orders for held workers, over the network. Rule: who ordered one hears what came of it, or that nobody answers."""

from __future__ import annotations

import asyncio

from gpufair.client.endings import said
from gpufair.client.failures import CheatedError, DeclinedError, UnreachableError
from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.client.session.talk import Talk
from gpufair.protocol import limits

_ANSWER_S = limits.CALL_DEADLINE_MS / limits.SECOND
_Told = ev.WorkerReserved | ev.ReserveDeclined | ev.Cheated


class Holding:
    """Who waits for the answers to such orders under one lease."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, asyncio.Future[_Told]] = {}

    async def order(self, session: Session, talk: Talk, seconds: int) -> ev.WorkerReserved:
        """Have a worker held for so many seconds more, paid at once. The lease must be of the class reserved.

        Raises LocalError where the lease can't have or pay that, DeclinedError with the provider's reasons,
        CheatedError, and UnreachableError if nobody answers: an answer that comes later is paid all the same.
        """
        turn = session.reserve(seconds * limits.SECOND)
        ordered = next(event for event in turn.events if isinstance(event, ev.ReserveOrdered))
        waiting: asyncio.Future[_Told] = asyncio.get_running_loop().create_future()
        self._waiting[ordered.order] = waiting
        try:
            async with asyncio.timeout(_ANSWER_S):
                await talk.order(turn.ups)
                told = await waiting
        except TimeoutError as error:
            hint = "should it answer later, it is paid all the same: its seconds count from then"
            raise UnreachableError("the provider does not say whether it holds a worker", hint=hint) from error
        finally:
            del self._waiting[ordered.order]
        if isinstance(told, ev.ReserveDeclined):
            what = f"no worker is held: {said(told.reasons)}"
            raise DeclinedError(what, reasons=told.reasons, hint="nothing was paid for it")
        if isinstance(told, ev.Cheated):
            raise CheatedError(told.what, hint="nothing was paid for it")
        return told

    def heard(self, event: ev.Event) -> None:
        """The lease's conversation told something."""
        match event:
            case ev.WorkerReserved(order=order) | ev.ReserveDeclined(order=order) | ev.Cheated(job=order):
                waiting = self._waiting.get(order)
                if waiting is not None and not waiting.done():
                    waiting.set_result(event)
