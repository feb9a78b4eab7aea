"""Talking with a provider under one lease. Rule: a stream may break at any word; the next one goes on from the wallet.

The session decides; this carries. An event reaches the listener after its answers are on their way.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence

from gpufair.client.session.events import ConnectionLost, Event, LeaseClosing, PreviewSeen, StepDone
from gpufair.client.session.session import Session
from gpufair.client.session.turn import Turn
from gpufair.protocol import limits
from gpufair.protocol.edge.channels import Peer
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.edge.streams import ExecuteStream
from gpufair.protocol.edge.tls import certificate_sha256
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Challenge, Down, Open, Up

Listen = Callable[[Event], None]

CLOSING_S = 5.0
"""How long to wait for the provider to say that it settles."""
KEY_S = 20.0
"""How long to wait for a key once everything is delivered and locked; after that the ledger is asked."""
GIVE_UP_S = 60.0
"""How long a provider may be out of reach before it is given up for now."""
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_TRANSIENT = {Fault.UNAVAILABLE, Fault.INTERNAL, Fault.LIMIT}


class Talk:
    """The conversation about one lease, over as many streams as it takes."""

    def __init__(self, session: Session, connect: Callable[[], Awaitable[Peer]], listen: Listen) -> None:
        self._session = session
        self._connect = connect
        self._listen = listen
        self._closing = False
        self._stream: ExecuteStream | None = None
        """The stream that is open for orders."""
        self._again: list[Up] = []
        self._changed = True
        """Whether the wallet may say something new since `over` was last asked: a step is no reason to look."""

    async def until(
        self, over: Callable[[], bool], waits_for_key: Callable[[], bool], *, say: Sequence[Up] = ()
    ) -> bool:
        """Go on until `over`, then finish the lease; False if a key doesn't come or the lease is closing.

        `say` is said on each new stream until it ends well. Raises PeerUnreachable for an impostor, or after a minute
        without any answer. Raises PeerError if the provider breaks the protocol or refuses for good.
        """
        self._again += say
        failures, now = 0, asyncio.get_running_loop().time
        met = now()
        while True:
            try:
                peer = await self._connect()
                async with peer.market.execute() as stream:
                    await self._open(stream, peer)
                    failures, met = 0, now()
                    ended = await self._converse(stream, over, waits_for_key)
                    if ended is not None:
                        return ended
                    met, why = now(), "the provider ended the stream"
            except PeerUnreachable as error:
                if error.impostor or now() - met > GIVE_UP_S:
                    raise
                why = error.what
            except TimeoutError:
                why = "the provider takes the stream and says nothing"
            except RemoteRefusal as refusal:
                if refusal.fault not in _TRANSIENT:
                    raise
                why = refusal.what
            self._listen(ConnectionLost(why))
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures += 1

    async def order(self, ups: Sequence[Up], *, again: bool = False) -> None:
        """Say something new while `until` goes on.

        Without a stream, or with one that breaks, it is lost: a job is ordered from the wallet on the next one anyhow;
        what the wallet doesn't know is said there too with `again`.
        """
        if again:
            self._again += ups
        if self._stream is not None:
            with contextlib.suppress(PeerUnreachable, RemoteRefusal):  # whoever reads the stream hears of it too
                for up in ups:
                    await self._stream.send(up)

    async def _open(self, stream: ExecuteStream, peer: Peer) -> None:
        async with asyncio.timeout(limits.STREAM_OPEN_MS / 1000):
            challenge = await stream.receive()
        if not isinstance(challenge, Challenge):
            raise PeerError(Fault.WRONG_TYPE, "the provider does not begin the stream with a challenge")
        answer = self._session.answer_challenge(challenge, certificate_sha256(peer.certificate))
        await stream.send(Open(answer.envelope))

    async def _converse(
        self,
        stream: ExecuteStream,
        over: Callable[[], bool],
        waits_for_key: Callable[[], bool],
    ) -> bool | None:
        """One stream: True when it is over, False when only the ledger can tell more, None when the stream ended."""
        self._stream = stream  # first: a job that is placed from now on is not in what `resume` says
        await self._carry(stream, self._session.resume())
        await self._carry(stream, Turn(list(self._again)))
        self._changed, patience = True, None
        while not (self._changed and over()):
            if self._changed:
                patience, self._changed = KEY_S if waits_for_key() else None, False
            if self._closing:
                return False
            try:
                async with asyncio.timeout(patience):
                    message = await stream.receive()
            except TimeoutError:
                return False
            if message is None:
                return None
            await self._take(stream, message)
        await self._finish(stream)
        return True

    async def _finish(self, stream: ExecuteStream) -> None:
        """Say that nothing more is wanted, so that the provider settles now; a lost word only costs time."""
        try:
            async with asyncio.timeout(CLOSING_S):
                await self._carry(stream, self._session.finish())
                while not self._closing and (message := await stream.receive()) is not None:
                    await self._take(stream, message)
        except (TimeoutError, PeerUnreachable, RemoteRefusal):
            return

    async def _take(self, stream: ExecuteStream, message: Down) -> None:
        await self._carry(stream, self._session.on(message))

    async def _carry(self, stream: ExecuteStream, turn: Turn) -> None:
        for up in turn.ups:
            await stream.send(up)
        for event in turn.events:
            self._closing = self._closing or isinstance(event, LeaseClosing)
            self._changed = self._changed or not isinstance(event, StepDone | PreviewSeen)
            self._listen(event)
