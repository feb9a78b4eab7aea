"""What a worker will take on. Rule: a bad request is refused with its number and its bound before any work is done."""

from __future__ import annotations

from collections.abc import Iterator

from gpufair.protocol import limits
from gpufair.protocol.errors import printable
from gpufair.protocol.frames import IMAGE, STATE, FailCode, Run
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.tasks import TASKS

EXACT = "exact"
"""fp32 throughout, each picture computed alone: within one runtime profile its bits are always the same."""
HALF = "half"
"""16 bits in the denoiser and the text encoder; latents, scheduler and VAE are fp32."""
SINGLE = "single"
"""fp32 throughout, in the company of others: the same within 1e-5, and more pictures a second."""

UNGUIDED_MILLI = 1000
"""A guidance of 1.0 or less adds nothing, and the unconditional half of the work isn't done."""

Wanted = tuple[tuple[bytes, int], ...]
"""A set of adapters by digest, each with its weight in thousandths."""


def refuse_precision(run: Run, *, is_half: bool) -> None:
    """`RefusedError` (bad request) unless the attempt's precision is what this worker computes in."""
    sold = (HALF,) if is_half else (EXACT, SINGLE)
    if run.precision and run.precision not in sold:
        names = " or ".join(map(repr, sold))
        raise RefusedError(FailCode.BAD_REQUEST, f"the precision is {run.precision!r}, this worker computes {names}")


def refuse_bad(run: Run) -> None:
    """`RefusedError` (bad request) unless every setting of the attempt is one that some model could serve."""
    problem = next(_problems(run), None)
    if problem is not None:
        raise RefusedError(FailCode.BAD_REQUEST, problem)


def guided(run: Run) -> bool:
    """Whether the attempt asks for classifier-free guidance, which doubles its step-pixels."""
    return run.guidance_milli > UNGUIDED_MILLI


def may_share(run: Run) -> bool:
    """Whether the attempt may be computed in one batch with others."""
    return run.precision in (SINGLE, HALF)


def wanted(run: Run) -> Wanted:
    """The adapters that change something. Of one that is named twice the weights add up; the order means nothing."""
    weights: dict[bytes, int] = {}
    for adapter in run.adapters:
        weights[adapter.digest] = weights.get(adapter.digest, 0) + adapter.weight_milli
    return tuple(sorted((digest, milli) for digest, milli in weights.items() if milli))


def seed_of(run: Run, picture: int) -> int:
    """The seed of picture `picture` of the job: the job's seed plus its index, modulo 2**64."""
    return (run.seed + picture) % 2**64


def preview_due(run: Run, step: int) -> bool:
    """Whether to show picture and step. None in the last quarter of the steps: a preview is no product."""
    return run.preview_every > 0 and step > 0 and step % run.preview_every == 0 and 4 * step <= 3 * run.steps


def _problems(run: Run) -> Iterator[str]:
    yield from _wrong_work(run)
    yield from _wrong_inputs(run)


def _wrong_work(run: Run) -> Iterator[str]:
    for name, side in (("width", run.width), ("height", run.height)):
        if side % limits.SIDE_MULTIPLE or not limits.SIDE_MIN <= side <= limits.SIDE_MAX:
            low, high, of = limits.SIDE_MIN, limits.SIDE_MAX, limits.SIDE_MULTIPLE
            yield f"the {name} is {side} pixels, it must be {low} to {high} and a multiple of {of}"
    if run.width * run.height > limits.PIXELS_MAX:
        yield f"the picture has {run.width * run.height} pixels, the limit is {limits.PIXELS_MAX}"
    for name, value, high in (("steps", run.steps, limits.STEPS_MAX), ("count", run.count, limits.COUNT_MAX)):
        if not 1 <= value <= high:
            yield f"{name} is {value}, it must be 1 to {high}"
    if run.skip + run.steps > limits.STEPS_MAX:
        whole = f"the schedule has {run.skip} + {run.steps} steps"
        yield f"{whole}, the limit is {limits.STEPS_MAX}"
    if run.first_picture + run.count > limits.COUNT_MAX:
        yield f"the last picture is number {run.first_picture + run.count}, the limit is {limits.COUNT_MAX}"
    if run.guidance_milli > limits.GUIDANCE_MILLI_MAX:
        yield f"guidance is {run.guidance_milli} thousandths, the limit is {limits.GUIDANCE_MILLI_MAX}"
    if run.precision not in ("", EXACT, SINGLE, HALF):
        yield f"the precision is {printable(run.precision)!r}, there are {EXACT!r}, {SINGLE!r} and {HALF!r}"


def _wrong_inputs(run: Run) -> Iterator[str]:
    needs = TASKS.get(run.task)
    if needs is None:
        yield f"the task is {printable(run.task)!r}, this worker does {', '.join(TASKS)}"
        return
    if run.skip and IMAGE not in needs:
        yield f"{run.skip} steps are skipped, and {run.task} has no picture to begin from instead"
    kinds = [ref.kind for ref in run.inputs]
    due = [*needs, STATE] if run.first_step else [*needs]
    if sorted(kinds) != sorted(due):
        named = ", ".join(printable(kind) for kind in kinds) or "none"
        yield f"the inputs are {named}; {run.task} here needs {', '.join(due) or 'none'}"
    size = sum(ref.length for ref in run.inputs if ref.kind != STATE)
    if size > limits.INPUTS_BYTES_MAX:
        yield f"the inputs have {size} bytes, the limit is {limits.INPUTS_BYTES_MAX}"
    if run.first_step > run.steps:
        yield f"{run.first_step} steps are done already, there are {run.steps}"
    yield from _wrong_end(run)
    for ref in run.inputs:
        if ref.kind == STATE and ref.step != run.first_step:
            yield f"the state is of step {ref.step}, where {run.first_step} are done"
        if ref.kind == STATE and ref.length > limits.STATE_MAX:
            yield f"the state has {ref.length} bytes, the limit is {limits.STATE_MAX}"


def _wrong_end(run: Run) -> Iterator[str]:
    """What is wrong with an attempt that ends before its picture is done."""
    if run.end_step == run.steps:
        return
    if run.count != 1:
        yield f"a run to step {run.end_step} is of one picture, not of {run.count}"
    if run.end_step <= run.first_step:
        yield f"the run ends after step {run.end_step}, and {run.first_step} steps are done already"
