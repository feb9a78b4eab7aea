"""Talking with a provider under one lease. Rule: a stream may break at any word; the next one goes on from the wallet.

The session decides; this carries. An event reaches the listener after its answers are on their way. A provider that
falls silent, or works without getting anywhere, is told from one that takes its time by the vigil.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from gpufair.client.session.events import ConnectionLost, Event, LeaseClosing, PreviewSeen, StepDone
from gpufair.client.session.session import Session
from gpufair.client.session.turn import Turn
from gpufair.client.session.vigil import Vigil
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
"""How long a provider may be out of reach before it is given up for now, where nobody else could do its job."""
_BACKOFF_S = (0.2, 0.5, 1.0, 2.0, 4.0)
_TRANSIENT = {Fault.UNAVAILABLE, Fault.INTERNAL, Fault.LIMIT}


_ASK_OTHERS = "another provider may have it done sooner"


class _SilentError(Exception):
    """Nothing was heard since then, of jobs that a provider has."""

    def __init__(self, since_s: float) -> None:
        super().__init__("nothing was heard")
        self.since_s = since_s


class Talk:
    """The conversation about one lease, over as many streams as it takes."""

    def __init__(
        self,
        session: Session,
        connect: Callable[[], Awaitable[Peer]],
        listen: Listen,
        *,
        give_up_s: float = limits.LOST_MS / 1000,
    ) -> None:
        self._session = session
        self._connect = connect
        self._listen = listen
        self._give_up_s = give_up_s
        self.stalled: dict[bytes, str] = {}
        """The jobs that were cancelled because they got no further, and why."""
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

        `say` is said on each new stream until it ends well. Raises PeerUnreachable for an impostor, after `give_up_s`
        without any answer, and for who does not end a job that got no further. Raises PeerError if the provider breaks
        the protocol or refuses for good.
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
            except _SilentError as silence:
                met, why = silence.since_s, "the provider says nothing any more"
            except PeerUnreachable as error:
                if error.impostor or now() - met > self._give_up_s:
                    raise
                why = error.what
            except TimeoutError:
                why = "the provider takes the stream and says nothing"
            except RemoteRefusal as refusal:
                if refusal.fault not in _TRANSIENT:
                    raise
                why = refusal.what
            if now() - met > self._give_up_s:
                raise PeerUnreachable(why, hint="ask again later")
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
        self._changed, key_by_ms = True, None
        vigil = Vigil(_now_ms())
        async with _Ear(stream) as ear:
            while not (self._changed and over()):
                if self._changed:
                    key_by_ms = _now_ms() + int(KEY_S * 1000) if waits_for_key() else None
                    vigil.watch(self._session.going(), _now_ms())
                    self._changed = False
                if self._closing:
                    return False
                try:
                    message = await ear.hear(_soonest(key_by_ms, vigil))
                except TimeoutError:
                    if key_by_ms is not None and _now_ms() >= key_by_ms:
                        return False
                    await self._look(stream, vigil)
                    continue
                if message is None:
                    return None
                await self._take(stream, message)
                # Now: to answer with a body of megabytes takes its time, and the silence meanwhile is ours.
                vigil.heard(message, _now_ms())
        await self._finish(stream)
        return True

    async def _look(self, stream: ExecuteStream, vigil: Vigil) -> None:
        """Nothing was heard in time: leave who is lost, and cancel what got no further."""
        now_ms = _now_ms()
        if vigil.is_lost(now_ms):
            raise _SilentError(vigil.word_ms / 1000)
        for job in vigil.stalled(now_ms):
            if job in self.stalled:
                raise PeerUnreachable("the provider does not end a job that it gets no further with", hint=_ASK_OTHERS)
            self.stalled[job] = "the provider says that it is at work and gets no further"
            await self._carry(stream, self._session.cancel(job))
            vigil.grant(job, now_ms, limits.LOST_MS)

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


class _Ear:
    """One read at a time that goes on while we look at the clock: to break a read off would break the stream."""

    def __init__(self, stream: ExecuteStream) -> None:
        self._stream = stream
        self._reading: asyncio.Task[Down | None] | None = None

    async def hear(self, patience_s: float | None) -> Down | None:
        """The next message, None at the stream's end. Raises TimeoutError if none comes in time; what does is kept."""
        reading = self._reading = self._reading or asyncio.ensure_future(self._stream.receive())
        await asyncio.wait((reading,), timeout=patience_s)
        if not reading.done():
            raise TimeoutError
        self._reading = None
        return reading.result()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _now_ms() -> int:
    """The loop's clock: it only goes forward."""
    return int(asyncio.get_running_loop().time() * 1000)


def _soonest(key_by_ms: int | None, vigil: Vigil) -> float | None:
    """Seconds until something must be looked at."""
    now_ms = _now_ms()
    waits = [ms for ms in (vigil.next_look_ms(now_ms), None if key_by_ms is None else key_by_ms - now_ms)
             if ms is not None]  # fmt: skip
    return max(0, min(waits)) / 1000 if waits else None
