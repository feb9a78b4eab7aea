"""Measures how far honest machines differ. ONE RULE: both sides are real workers, and only what they said is compared.

`make` has a worker make pictures of the demo model, or another one, and keeps every frame that it says: task by task,
scheduler by scheduler, alone and in company where the precision allows it. `judge` has another worker, perhaps on
another machine, do each step of them again, and prints the row: three times the 99.99th percentile of what it found.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import io
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import gpufair.protocol
from gpufair.client.audit import models
from gpufair.client.audit.worker import Worker, started
from gpufair.protocol.content import FileDigest, counts, model_digest
from gpufair.protocol.frames import (
    Done,
    Failed,
    Frame,
    FrameDecoder,
    InputRef,
    OutputChunk,
    Ready,
    Replay,
    Run,
    State,
    encode,
)

DEMO = Path(gpufair.protocol.__path__[0]).parent / "provider" / "models" / "demo"
SCHEDULERS = ("ddim", "euler", "euler_ancestral", "dpmpp_2m", "unipc")
TASKS = {"text_to_image": (), "image_to_image": ("image",), "inpaint": ("image", "mask")}
PROMPTS = ("a fox on a green background", "a red apple", "a panda on a white background", "a rocket")
SKIP, COMPANY, MARGIN, PERCENTILE = 5, 3, 3, 0.9999
PICTURE_FLOOR = 40_000
"""One grey level in a hundred values: what rounding to 8 bits can do."""


def pngs(side: int) -> dict[str, bytes]:
    """Pictures to begin from: noise, and a mask of its right half."""
    dice = np.random.default_rng(1)
    arrays = {
        "image": dice.integers(0, 256, (side, side, 3), dtype=np.uint8),
        "mask": np.repeat(np.arange(side, dtype=np.uint8)[None] * 2 // side * 255, side, 0).astype(np.uint8),
    }
    return {kind: _png(array) for kind, array in arrays.items()}


def _png(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def ref(kind: str, data: bytes, step: int = 0) -> InputRef:
    return InputRef(kind, hashlib.sha256(data).digest(), len(data), step)


def digest_of(folder: Path) -> bytes:
    """What the model in a folder is called."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and counts(path.name)]
    return model_digest(
        FileDigest(p.relative_to(folder).as_posix(), p.stat().st_size, hashlib.sha256(p.read_bytes()).digest())
        for p in paths
    )


def orders(model: bytes, side: int, steps: int, rounds: int, precision: str) -> Iterator[list[tuple[Run, list[bytes]]]]:
    """What is made together: one run, or several that share the denoiser."""
    given = pngs(side)
    for number in range(rounds):
        for place, scheduler in enumerate(SCHEDULERS):
            task = list(TASKS)[(number + place) % len(TASKS)]
            inputs = [given[kind] for kind in TASKS[task]]
            plain = Run(
                bytes(16), model, PROMPTS[number % len(PROMPTS)], 1000 * number + place, steps, 3000, side, side,
                scheduler=scheduler, task=task, skip=SKIP if inputs else 0, precision=precision, trace=True,
                inputs=tuple(ref(kind, given[kind]) for kind in TASKS[task]),
            )  # fmt: skip
            many = 1 if precision == "exact" else 1 + number % COMPANY
            yield [(replace(plain, attempt=os.urandom(16), seed=plain.seed + 100 * n), inputs) for n in range(many)]


async def make(options: argparse.Namespace) -> None:
    """Record what a worker says."""
    folder = options.model or DEMO
    model, pictures = digest_of(folder), 0
    with models.found(model, folder) as content, options.output.open("wb") as file:
        async with started(options.device, options.dtype, options.threads) as worker:
            await worker.load(model, content)
            file.write(encode(Ready(2, bytes(16), worker.profile, 0)))
            for runs in orders(model, options.side, options.steps, options.rounds, options.precision):
                for run, inputs in runs:
                    file.write(encode(run))
                    await worker.give(run.attempt, inputs)
                    await worker.say(run)
                await record(worker, len(runs), file)
                pictures += len(runs)
                print(f"\r{pictures} pictures", end="", flush=True)
    print(f"\n{options.output}: {pictures * options.steps} steps")


async def record(worker: Worker, many: int, file: Any) -> None:
    """Write all that a worker says until so many runs are over."""
    while many:
        frame = await worker.hear()
        if isinstance(frame, Failed):
            raise SystemExit(f"the worker failed: {frame.message}")
        file.write(encode(frame))
        many -= isinstance(frame, Done)


@dataclass
class Told:
    """What was said of one run."""

    run: Run
    states: dict[int, bytes] = field(default_factory=dict)
    png: bytes = b""

    def take(self, frame: Frame) -> None:
        """Keep what belongs to it."""
        if isinstance(frame, State):
            self.states[frame.step] = self.states.get(frame.step, b"") + frame.data
        elif isinstance(frame, OutputChunk):
            self.png += frame.data


def told(frames: Sequence[Frame]) -> list[Told]:
    """Every run of a recording."""
    found = {frame.attempt: Told(frame) for frame in frames if isinstance(frame, Run)}
    for frame in frames:
        if isinstance(frame, State | OutputChunk):
            found[frame.attempt].take(frame)
    return list(found.values())


async def judge(options: argparse.Namespace) -> None:
    """Do every step of a recording again, and print the row."""
    frames = FrameDecoder().feed(options.traces.read_bytes())
    made = next(frame.profile for frame in frames if isinstance(frame, Ready))
    runs, errors = told(frames), list[tuple[int, int, int]]()
    given = pngs(runs[0].run.width)
    with models.found(runs[0].run.model, options.model or DEMO) as content:
        async with started(options.device, options.dtype, options.threads) as worker:
            await worker.load(runs[0].run.model, content)
            for one in runs:
                for step in range(one.run.steps):
                    errors.append(await replayed(worker, one, step, given))
                print(f"\r{len(errors)} steps", end="", flush=True)
            verifier = worker.profile
    start, step, picture = (MARGIN * percentile(column) for column in zip(*errors, strict=True))
    row = {
        "provider": f"{made.device_kind}/{made.dtype}", "verifier": f"{verifier.device_kind}/{verifier.dtype}",
        "start_nano": start, "step_nano": step, "picture_nano": max(picture, PICTURE_FLOOR), "steps": len(errors),
        "made_on": f"{made.device_name}, torch {made.torch}", "judged_on": f"{verifier.device_name}, {verifier.torch}",
    }  # fmt: skip
    print("\n" + json.dumps(row))


async def replayed(worker: Worker, one: Told, step: int, given: dict[str, bytes]) -> tuple[int, int, int]:
    """The errors of one step."""
    inputs = [given[each.kind] for each in one.run.inputs]
    opened = sorted({0, step, step + 1, one.run.steps})
    named = [*(ref("state", one.states[at], at) for at in opened), ref("picture", one.png)]
    order = Replay(replace(one.run, inputs=(*one.run.inputs, *named), precision=""), step)
    answer = await worker.replay(order, [*inputs, *(one.states[at] for at in opened), one.png])
    return answer.start_nano, answer.step_nano, answer.picture_nano


def percentile(values: Sequence[int]) -> int:
    """The value that so many of them don't exceed."""
    return sorted(values)[math.ceil(PERCENTILE * len(values)) - 1]


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure a row of the table of tolerances (docs/audit.md).")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("make", "judge"):
        command = commands.add_parser(name)
        command.add_argument("--device", default="cpu")
        command.add_argument("--dtype", default="float32")
        command.add_argument("--threads", type=int, default=1)
        command.add_argument("--model", type=Path, help="a diffusers folder; else the demo model")
        if name == "judge":
            command.add_argument("traces", type=Path)
            continue
        command.add_argument("-o", "--output", type=Path, required=True)
        command.add_argument("--precision", default="single", help="exact, single or half")
        command.add_argument("--side", type=int, default=64)
        command.add_argument("--steps", type=int, default=20)
        command.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    asyncio.run(make(options) if options.command == "make" else judge(options))


if __name__ == "__main__":
    main()
