"""Time, chance and the wires of a simulated market. Rule: one seed decides everything, and nothing happens by itself.

Events wait in a heap. A call is a request and an answer, each of which may be lost, late or doubled; the caller says
the same bytes again until it hears. A stream carries messages in order until it breaks; a wild one may lose, double
and reorder them too, which no transport of ours does, so that the cores are seen to rely on it for nothing but speed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from gpufair.protocol import wire
from gpufair.protocol.errors import PeerError
from gpufair.protocol.v1 import services_pb2

NOW = 1_800_000_000_000


class CrashError(BaseException):
    """The process is gone, in the middle of what it did. No handler of our own code may catch it."""


@dataclass
class Weather:
    """How bad the network and the machines are, while faults last."""

    lose: float = 0.0
    double: float = 0.0
    slow: float = 0.0
    break_stream: float = 0.0
    crash: float = 0.0
    wild: bool = False


class Sim:
    """The clock, the dice and the diary of one run."""

    def __init__(self, seed: int, weather: Weather, heal_ms: int) -> None:
        self.seed, self.rng, self.weather = seed, Random(seed), weather
        self.heal_at = NOW + heal_ms
        self.now = NOW
        self.verbose = False
        self.trace: list[tuple[int, str, tuple[Any, ...]]] = []
        self.real_wire = self.rng.random() < 0.1
        self.islands: dict[str, int] = {}
        """Where the network is parted: on which island somebody is (0 if it is not said)."""
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    @property
    def calm(self) -> bool:
        """Whether the faults are over."""
        return self.now >= self.heal_at

    def note(self, text: str, *values: Any) -> None:
        """Remember what happened; it is formatted only when somebody reads it."""
        self.trace.append((self.now, text, values))
        if self.verbose:
            print(line(self.trace[-1]), flush=True)

    def after(self, ms: int, act: Callable[[], None]) -> None:
        """Let something happen later."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + max(0, ms), self._count, act))

    def step(self) -> bool:
        """The next event; whether there was one."""
        if not self._heap:
            return False
        self.now, _, act = heapq.heappop(self._heap)
        act()
        return True

    def chance(self, probability: float) -> bool:
        """Whether a fault strikes now."""
        return not self.calm and probability > 0 and self.rng.random() < probability

    def reaches(self, one: str, other: str) -> bool:
        """Whether there is a way between two, by their names."""
        return not self.islands or self.islands.get(one, 0) == self.islands.get(other, 0)

    def delay(self) -> int:
        """How long a message is under way, in ms."""
        return self.rng.randrange(200, 8000) if self.chance(self.weather.slow) else self.rng.randrange(1, 30)

    def copies(self) -> int:
        """How often a datagram arrives."""
        if self.chance(self.weather.lose):
            return 0
        return 2 if self.chance(self.weather.double) else 1


def line(entry: tuple[int, str, tuple[Any, ...]]) -> str:
    """One line of the diary."""
    at, text, values = entry
    return f"{(at - NOW) / 1000:10.3f}  {text.format(*map(short, values))}"


def short(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, bytes):
        return value.hex()[:8] or "-"
    text = f"{type(value).__name__}" if hasattr(value, "__dataclass_fields__") else str(value)
    if hasattr(value, "doc"):
        return f"{type(value.doc).__name__}:{value.id.hex()[:6]}"
    if hasattr(value, "envelope") and hasattr(value.envelope, "payload_type"):
        text += f"({value.envelope.payload_type.split('.')[2]})"
    return text[:150]


@dataclass
class Call:
    """One question, asked with the same bytes until it is answered or given up."""

    sim: Sim
    caller: Any
    ask: Callable[[], Any]
    """Runs at the callee; raises PeerError to refuse. Returns None if nobody is at home."""
    done: Callable[[Any], None]
    name: str
    until: int
    to: str = ""
    """The callee's name; nobody's is always reached."""
    wait_ms: int = 400
    answered: bool = False
    epoch: int = field(init=False)

    def __post_init__(self) -> None:
        self.epoch = self.caller.epoch
        self._send()

    def _send(self) -> None:
        if self.answered or self.caller.epoch != self.epoch or not self.caller.up:
            return
        if self.sim.now > self.until:
            self.sim.note("{} gives up {}", self.caller.name, self.name)
            return
        for _ in range(self.sim.copies()):
            self.sim.after(self.sim.delay(), self._arrive)
        self.sim.after(self.wait_ms, self._send)
        self.wait_ms = min(self.wait_ms * 2, 20_000)

    def _arrive(self) -> None:
        if not self._is_reached():
            return
        try:
            answer = self.ask()
        except PeerError as error:
            answer = error
        if answer is None:
            return
        for _ in range(self.sim.copies()):
            self.sim.after(self.sim.delay(), lambda: self._answer(answer))

    def _answer(self, answer: Any) -> None:
        if self.answered or self.caller.epoch != self.epoch or not self.caller.up or not self._is_reached():
            return
        self.answered = True
        self.sim.note("{} hears {}: {}", self.caller.name, self.name, answer)
        self.caller.guard(self.done, answer)

    def _is_reached(self) -> bool:
        return not self.to or self.sim.reaches(self.caller.name, self.to)


class Stream:
    """Two ends and what is between them. `up` and `down` take what arrives; `broken` tells both ends of the end."""

    def __init__(self, sim: Sim, client: Any, provider: Any) -> None:
        self.sim, self.client, self.provider = sim, client, provider
        self.alive = True
        self._busy_until = {"up": 0, "down": 0}

    def open(self) -> None:
        """The provider sees that somebody has come."""
        self.sim.after(self.sim.delay(), lambda: self.alive and self._is_there() and self.provider.connect(self))

    def _is_there(self) -> bool:
        return self.sim.reaches(self.client.name, self.provider.name)

    def send_up(self, message: Any) -> None:
        """Client to provider."""
        self._send("up", "StreamUp", message, self.provider.on_up)

    def send_down(self, message: Any) -> None:
        """Provider to client."""
        self._send("down", "StreamDown", message, self.client.on_down)

    def _send(self, way: str, generated: str, message: Any, arrive: Callable[[Stream, Any], None]) -> None:
        if not self.alive:
            return
        if self.sim.real_wire:
            message = through_the_wire(generated, message)
        if self.sim.chance(self.sim.weather.break_stream) or not self._is_there():
            self.cut()
            return
        if self.sim.weather.wild and not self.sim.calm:
            for _ in range(self.sim.copies()):
                self.sim.after(self.sim.delay(), lambda: self.alive and arrive(self, message))
            return
        at = max(self._busy_until[way], self.sim.now + self.sim.delay())
        self._busy_until[way] = at
        self.sim.after(at - self.sim.now, lambda: self.alive and arrive(self, message))

    def cut(self) -> None:
        """The connection is gone; each end notices after a while."""
        if self.alive:
            self.alive = False
            self.sim.note("the stream breaks")
            self.sim.after(self.sim.delay(), lambda: self.client.on_cut(self))
            self.sim.after(self.sim.delay(), lambda: self.provider.on_cut(self))


def through_the_wire(generated: str, message: Any) -> Any:
    """What a peer would read of a stream message."""
    wrapper = getattr(services_pb2, generated)()
    wrapper.ParseFromString(wire.wrap(generated, message).SerializeToString())
    return wire.unwrap(wrapper, (type(message),))
