"""Measuring what this node would sell. Rule: a worker is started as the daemon would start it, and asked over its pipe.

The node must not run meanwhile: its own workers would take the cores that are measured.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gpufair.protocol.families import family
from gpufair.protocol.frames import InputRef, Measure, Measured, Run, RuntimeProfile
from gpufair.protocol.inputs import NEEDED
from gpufair.protocol.limits import SIDE_MULTIPLE
from gpufair.protocol.messages import InputKind, Task
from gpufair.protocol.ports import Clock, Random
from gpufair.provider.config import Config
from gpufair.provider.hardware.energy import Meter, counter
from gpufair.provider.hardware.probe import probe
from gpufair.provider.home import Home
from gpufair.provider.models.about import StoredModel
from gpufair.provider.models.footprints import Footprints
from gpufair.provider.models.store import ModelStore
from gpufair.provider.sales.speeds import Figure, Measurement
from gpufair.provider.selling import open_runtime, patience, worker_specs
from gpufair.provider.workers.pool import Pool

STEPS = 4
ROUNDS = 3
GUIDANCE_MILLI = 5000
PLAIN_MILLI = 1000
SIDE = 512
"""The side of pictures of a model that names none."""


@dataclass(frozen=True)
class Shape:
    """What is measured: a task, a picture's side, with guidance or without."""

    task: Task
    side: int
    guided: bool


def shapes(model: StoredModel, side: int, pixels_max: int) -> list[Shape]:
    """A few that tell a model's speed: half its own size, its own, twice that, and each other task that it does."""
    wanted = [Shape(Task.TEXT_TO_IMAGE, size, guided) for size in (side // 2, side) for guided in (False, True)]
    wanted.append(Shape(Task.TEXT_TO_IMAGE, 2 * side, guided=True))
    wanted += [Shape(task, side, guided=True) for task in family(model.family).tasks if task is not Task.TEXT_TO_IMAGE]
    return [one for one in wanted if one.side >= SIDE_MULTIPLE and one.side**2 <= pixels_max]


async def measure(
    home: Home,
    config: Config,
    did: str,
    models: Sequence[StoredModel],
    random: Random,
    clock: Clock,
    said: Callable[[StoredModel, Figure], None],
) -> tuple[RuntimeProfile, dict[bytes, Measurement]]:
    """The profile of a worker started here, and what was measured of each model; `said` hears each figure as it comes.

    Raises LocalError if a node is running in this folder, `WorkerFailedError` if the worker can't do it.
    """
    store = ModelStore(home.models)
    footprints = Footprints(store.path)
    with home.take(), home.claim(did):
        runtime = await open_runtime(config, home, did)
        spec = worker_specs(config, home, probe(home.models))[0]
        pool = Pool(runtime, [spec], store.path, random, times=patience(config))
        try:
            measured = {}
            for model in models:
                load_ms = await pool.warm(model.digest)
                footprint = footprints.of(model.digest)
                side = (footprint.side if footprint is not None else 0) or SIDE
                figures, meter = [], Meter(counter(spec.gpu), clock)
                for shape in shapes(model, side, config.limits.pixels):
                    run, inputs = order(model, shape, random.bytes(16))
                    answer = await pool.ask(Measure(run, ROUNDS), inputs)
                    assert isinstance(answer, Measured)
                    figures.append(figure(shape, answer))
                    said(model, figures[-1])
                measured[model.digest] = Measurement(model.name, load_ms * 1000, tuple(figures), meter.milliwatts())
            [profile] = pool.runtimes
            return profile, measured
        finally:
            await pool.close()
            await runtime.close()


def order(model: StoredModel, shape: Shape, attempt: bytes) -> tuple[Run, tuple[bytes, ...]]:
    """The attempt that is measured, and what it begins from."""
    inputs = {kind.name.lower(): plain_png(shape.side, kind) for kind in NEEDED[shape.task]}
    run = Run(
        attempt=attempt,
        model=model.digest,
        prompt="a fox on a green background",
        seed=1,
        steps=STEPS,
        guidance_milli=GUIDANCE_MILLI if shape.guided else PLAIN_MILLI,
        width=shape.side,
        height=shape.side,
        skip=STEPS if inputs else 0,
        task=shape.task.name.lower(),
        inputs=tuple(InputRef(kind, hashlib.sha256(png).digest(), len(png)) for kind, png in inputs.items()),
    )
    return run, tuple(inputs.values())


def figure(shape: Shape, answer: Measured) -> Figure:
    """A worker's answer as it is kept."""
    return Figure(
        shape.task.name.lower(), shape.side, shape.side, shape.guided, answer.step_us, answer.decode_us,
        answer.whole_us, answer.step_flops, answer.decode_flops, answer.matmul_flops, answer.peak_bytes, STEPS,
    )  # fmt: skip


def plain_png(side: int, kind: InputKind) -> bytes:
    """A picture in one grey, or a mask that is white all over."""
    colours, channels, value = (0, 1, 255) if kind is InputKind.MASK else (2, 3, 128)
    rows = (b"\x00" + bytes([value]) * channels * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunks(header, zlib.compress(rows)))


def _chunks(header: bytes, rows: bytes) -> Iterator[bytes]:
    for name, data in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
        yield struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
