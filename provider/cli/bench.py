"""`bench`. Rule: every figure is shown as it comes, and what was measured is kept for the offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider.cli.common import HomeOption, JsonOption, open_home, say, show

if TYPE_CHECKING:
    from gpufair.provider.models.about import StoredModel
    from gpufair.provider.sales.speeds import Figure

MIB = 1024 * 1024
HEAD = "model            task                   size guided pictures/s step-Mpx/s    MFU  peak MiB"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(bench)


def bench(
    model: Annotated[list[str] | None, typer.Option(help="A name or a digest's beginning (default: all).")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Measure how fast models run here, for the offer: buyers are shown an estimate. The node must be stopped."""
    import asyncio

    from gpufair.protocol.edge.system import SystemClock, SystemRandom
    from gpufair.provider import bench as measuring
    from gpufair.provider.cli.models import find
    from gpufair.provider.models.store import ModelStore
    from gpufair.provider.sales.speeds import Speeds
    from gpufair.provider.workers.outcome import WorkerFailedError

    where, settings, keys = open_home(home)
    store = ModelStore(where.models)
    chosen = [find(store, which) for which in model] if model else store.list()
    if not chosen:
        raise LocalError(Fault.UNKNOWN, "there is no model to measure", hint="gpufaird models add FOLDER")
    if not as_json:
        say(HEAD)

    def said(one: StoredModel, figure: Figure) -> None:
        if not as_json:
            say(_line(one, figure))

    try:
        work = measuring.measure(where, settings, keys.did, chosen, SystemRandom(), SystemClock(), said)
        profile, measured = asyncio.run(work)
    except WorkerFailedError as error:
        hint = "`gpufaird doctor` looks at the machine; a model may be too large for `memory_mib`"
        raise LocalError(Fault.UNAVAILABLE, f"the worker could not be measured: {error}", hint=hint) from error
    Speeds(where.speeds).keep(profile, measured, SystemClock().now_ms())
    models = [{"digest": digest.hex(), **_answer(one)} for digest, one in measured.items()]
    if show({"profile": profile.digest().hex(), "device": profile.device_name, "models": models}, as_json=as_json):
        return
    for one in measured.values():
        say(f"{one.name}: loaded in {one.load_us / 1e6:.1f} s")
    say(f"\nkept in {where.speeds}: the offer tells these speeds from now on")


def _line(model: StoredModel, one: Figure) -> str:
    return (
        f"{model.name:16.16} {one.task:15} {f'{one.width} x {one.height}':>11} {'yes' if one.guided else 'no':6} "
        f"{one.pictures_s:10.3f} {one.step_megapixels_s:10.3f} {one.mfu:6.1%} {one.peak_bytes / MIB:9,.0f}"
    )


def _answer(one: Any) -> dict[str, Any]:
    from dataclasses import asdict

    figures = [
        {
            **asdict(figure),
            "pictures_per_s": round(figure.pictures_s, 4),
            "step_megapixels_per_s": round(figure.step_megapixels_s, 4),
            "mfu": round(figure.mfu, 4),
        }
        for figure in one.figures
    ]
    return {"name": one.name, "load_us": one.load_us, "figures": figures}
