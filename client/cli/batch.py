"""`sweep`, `resume`, `batches`, large counts of `run`. Rule: the price of all is shown, bounded and agreed to first."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufair.client.cli import filters as w
from gpufair.client.cli import options as o
from gpufair.client.cli.stage import Answer, Exit, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.batch.driver import Driver
    from gpufair.client.batch.orders import Own
    from gpufair.client.batch.running import Prepared
    from gpufair.client.buyer import Buyer

BATCH_FROM = 17
"""From so many pictures on `run` makes a batch of them: fewer are one job of one provider."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Pictures")(sweep)
    app.command(rich_help_panel="Pictures")(resume)
    app.command(rich_help_panel="Pictures")(batches)


def sweep(
    prompts: Annotated[list[str], typer.Argument(metavar="PROMPTS", help="What to draw; several are an axis too.")],
    steps: Annotated[str, typer.Option("--steps", "-s", metavar="LIST", help="Such as 10,20 or 10..12.")] = "",
    guidance: Annotated[str, typer.Option("--guidance", "-g", metavar="LIST", help="Such as 3,7.5.")] = "",
    seed: Annotated[str, typer.Option("--seed", metavar="LIST", help="Such as 1..5; else one for all.")] = "",
    scheduler: Annotated[str, typer.Option("--scheduler", metavar="LIST", help="Such as ddim,euler.")] = "",
    strength: Annotated[str, typer.Option("--strength", metavar="LIST", help="Such as 0.4,0.8.")] = "",
    output: o.Folder = None,
    budget: o.Budget = "",
    hedge: o.Hedge = True,
    yes: o.Yes = False,
    negative: o.Negative = "",
    size: o.Size = "",
    precision: o.Precision = "",
    model: o.Model = "",
    lora: o.Loras = None,
    image: o.Image = None,
    mask: o.Mask = None,
    outpaint: o.Outpaint = "",
    max_price: o.MaxPrice = "",
    checkpoint_every: o.CheckpointEvery = None,
    region: w.Region = "",
    isolation: w.Isolated = "",
    trust_provider_ledger: o.TrustProviderLedger = False,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Draw a picture for each combination of values, over as many providers as help, within one budget."""

    def work(stage: Stage) -> Answer:
        from gpufair.client.batch import orders

        common = o.plain(
            negative=negative, size=size, precision=precision, model=model, loras=lora, image=image, mask=mask,
            outpaint=outpaint, max_price=max_price, region=region, isolation=isolation,
            trust_provider_ledger=trust_provider_ledger, checkpoint_every=checkpoint_every,
        )  # fmt: skip
        axes: dict[str, Sequence[Any]] = {
            "prompt": prompts,
            "scheduler": o.values(scheduler) if scheduler else [],
            "steps": o.whole("--steps", steps) if steps else [],
            "guidance_milli": [o.guidance_milli(one) for one in o.values(guidance)] if guidance else [],
            "strength_milli": [o.strength_milli(one) for one in o.values(strength)] if strength else [],
            "seed": o.whole("--seed", seed) if seed else [],
        }
        return draw(
            stage, common, orders.sweep(axes), prompts[0], output, budget=budget, hedge=hedge, yes=yes,
            one_seed=not seed,
        )  # fmt: skip

    perform(home, as_json, work)


def resume(
    batch: Annotated[
        str, typer.Argument(metavar="[BATCH]", help="A batch's id, or its first digits; none: the newest.")
    ] = "",
    budget: o.Budget = "",
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Take up a batch that was broken off: what is here is written again, and only what is missing is bought."""

    def work(stage: Stage) -> Answer:
        return stage.with_buyer(lambda buyer: _resume(stage, buyer, batch, budget))

    perform(home, as_json, work)


def batches(home: HomeDir = None, as_json: Json = False) -> None:
    """List your batches, newest first, and how far each is. Offline."""

    def work(stage: Stage) -> Answer:
        return stage.with_buyer(lambda buyer: _batches(stage, buyer))

    perform(home, as_json, work)


def many(
    stage: Stage,
    prompt: str,
    options: dict[str, Any],
    count: int,
    output: Path | None,
    *,
    budget: str,
    hedge: bool,
    yes: bool,
) -> Answer:
    """`run` with a large count: the same picture with one seed after the other."""
    from gpufair.client.batch import orders

    orders.check_count(count)
    first = options.pop("seed")
    items = [{"seed": one} for one in orders.seeds(first, count)] if first is not None else [{} for _ in range(count)]
    common = {**options, "prompt": prompt, "preview_every": 0}
    return draw(stage, common, items, prompt, output, budget=budget, hedge=hedge, yes=yes)


def draw(
    stage: Stage,
    common: dict[str, Any],
    items: list[Own],
    title: str,
    output: Path | None,
    *,
    budget: str,
    hedge: bool,
    yes: bool,
    one_seed: bool = False,
) -> Answer:
    """Plan a batch, ask, and see it through. `one_seed`: a seed that was left open is the same for all pictures."""
    from gpufair.client.batch import results
    from gpufair.client.pictures import folder as pictures
    from gpufair.protocol.errors import Fault, LocalError

    most = o.amount("--budget", budget) if budget else 0
    folder = output or pictures.name_for(title, Path()).with_suffix("")
    if not yes and (stage.as_json or not sys.stdin.isatty()):
        hint = "add --yes to buy without being asked; --budget bounds what that may cost"
        raise LocalError(Fault.MALFORMED, "there is no terminal to ask on", hint=hint)
    results.prepare(folder)
    return stage.with_buyer(
        lambda buyer: _draw(stage, buyer, common, items, title, folder, most, hedge=hedge, yes=yes, one_seed=one_seed)
    )


async def _draw(
    stage: Stage,
    buyer: Buyer,
    common: dict[str, Any],
    items: list[Own],
    title: str,
    folder: Path,
    budget: int,
    *,
    hedge: bool,
    yes: bool,
    one_seed: bool,
) -> Answer:
    from gpufair.client.batch import running
    from gpufair.client.cli.batch_view import BatchWatch
    from gpufair.client.cli.interrupts import leaving_at_once
    from gpufair.client.failures import DeclinedError

    if one_seed:
        common["seed"] = int.from_bytes(buyer.desk.random.bytes(4), "big")
    prepared = await running.prepare(buyer, common, items)
    budget = budget or prepared.usual_budget
    _say_plan(stage, prepared, budget, folder)
    if not yes:
        with leaving_at_once():
            wanted = typer.confirm("Draw them?", default=True, err=True)
        if not wanted:
            folder.rmdir()
            raise DeclinedError("not bought", hint="nothing was spent")
    watch = BatchWatch(stage, buyer)
    driver = running.begin(buyer, prepared, budget=budget, title=title, folder=folder, hedge=hedge, listen=watch)
    return await _see_through(stage, buyer, driver, watch)


async def _resume(stage: Stage, buyer: Buyer, text: str, budget: str) -> Answer:
    from gpufair.client.batch import records, running
    from gpufair.client.cli.batch_view import BatchWatch

    batch = records.find(buyer.store, text)
    watch = BatchWatch(stage, buyer)
    with running.held(running.folder_of(records.load(buyer.store, batch))):
        driver = await running.resume(buyer, batch, budget=o.amount("--budget", budget) if budget else 0, listen=watch)
        stage.say(f"{len(driver.board.done)} of {len(driver.batch.items)} pictures are here", style="bold")
        return await _drive(stage, buyer, driver, watch)


async def _see_through(stage: Stage, buyer: Buyer, driver: Driver, watch: Any) -> Answer:
    from gpufair.client.batch import running

    with running.held(driver.folder):
        return await _drive(stage, buyer, driver, watch)


async def _drive(stage: Stage, buyer: Buyer, driver: Driver, watch: Any) -> Answer:
    from gpufair.client.batch import results, running
    from gpufair.client.cli.answers import answer
    from gpufair.client.cli.batch_answers import batch_object
    from gpufair.client.cli.interrupts import stop_asked
    from gpufair.client.failures import StoppedError

    with watch.watch(driver), stop_asked(watch.stopping) as stop:
        await driver.run(stop)
    running.save(buyer, driver, driver.folder)
    told = batch_object(buyer.store, driver.batch.id)
    _say_result(stage, told, driver.folder)
    unfinished = running.unfinished(driver)
    if unfinished is not None and stop.is_set():
        raise StoppedError(unfinished.what, hint=unfinished.hint)
    if unfinished is not None:
        raise unfinished
    return answer("batch", **told, index=results.INDEX, sheet=results.SHEET, _exit=Exit.OK)


async def _batches(stage: Stage, buyer: Buyer) -> Answer:
    from gpufair.client.batch import records
    from gpufair.client.cli.answers import answer
    from gpufair.client.cli.batch_answers import batch_summary
    from gpufair.protocol.units import show

    found = [batch_summary(buyer.store, key) for key in reversed(records.listed(buyer.store))]
    for one in found:
        words = f"{one['batch'][:12]}  {one['here']:>4} of {one['count']:<4}"
        stage.say(f"{words}  {show(one['spent']):>14} of {show(one['budget'])}  {one['title'][:40]}  {one['folder']}")
    if not found:
        stage.say("No batches yet. Next: gpufair run 'a fox' --count 50")
    return answer("batches", batches=found)


def _say_plan(stage: Stage, prepared: Prepared, budget: int, folder: Path) -> None:
    from gpufair.client.market.choosing import seller
    from gpufair.protocol.units import show

    stage.say(f"  pictures  {len(prepared.items)}, into {folder}/")
    for stall in [prepared.stalls.by_did[one.did] for one in prepared.stalls.sellers][:8]:
        prices = [price for price in stall.seller.prices if price is not None]
        span = show(min(prices)) if min(prices) == max(prices) else f"{show(min(prices))} to {show(max(prices))}"
        stage.say(f"  provider  {seller(stall.choice)}: {span} a picture")
    stage.say(f"  price     {show(prepared.least)} at least, if all come from whoever is cheapest")
    stage.say(f"  budget    {show(budget)}: all together never cost more")


def _say_result(stage: Stage, told: dict[str, Any], folder: Path) -> None:
    from gpufair.protocol.identity import short
    from gpufair.protocol.units import show

    done = told["here"] == told["count"]
    words = f"{told['here']} of {told['count']} pictures in {folder}/"
    stage.say(("✓ " if done else "  ") + words, style="green" if done else None)
    for one in told["providers"]:
        stage.say(f"  {short(one['provider'])}  {one['pictures']} pictures, {show(one['spent'])}")
    stage.say(f"  cost      {show(told['spent'])} of {show(told['budget'])}")
    stage.say(f"  sheet     {folder / 'sheet.png'}; index.json says what each one is")
