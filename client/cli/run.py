"""`run`. Rule: the whole plan and its price are shown before anything is signed, and a person says yes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufair.client.cli import batch
from gpufair.client.cli import filters as w
from gpufair.client.cli import options as o
from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.buyer import Buyer
    from gpufair.client.market.plan import Plan
    from gpufair.client.market.wish import Wish
    from gpufair.client.wallet.purchase import Purchase


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(rich_help_panel="Pictures")(run)


def run(
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The PNG; else named after the prompt.")] = None,
    yes: o.Yes = False,
    budget: o.Budget = "",
    hedge: o.Hedge = True,
    negative: o.Negative = "",
    steps: o.Steps = None,
    guidance: o.Guidance = "",
    size: o.Size = "",
    seed: o.Seed = None,
    scheduler: o.SchedulerName = "",
    precision: o.Precision = "",
    count: o.Count = 1,
    model: o.Model = "",
    lora: o.Loras = None,
    image: o.Image = None,
    strength: o.Strength = "",
    mask: o.Mask = None,
    outpaint: o.Outpaint = "",
    max_price: o.MaxPrice = "",
    gpu: w.Gpu = "",
    memory: w.Memory = "",
    isolation: w.Isolated = "",
    profile: w.Profile = "",
    region: w.Region = "",
    ledger: w.Ledger = "",
    strategy: w.StrategyName = "",
    checkpoint_every: o.CheckpointEvery = None,
    bid_class: w.ClassName = "",
    bid: w.Bid = "",
    notice: w.Notice = None,
    bargain: w.Bargain = "",
    trust_provider_ledger: o.TrustProviderLedger = False,
    preview: Annotated[bool, typer.Option("--preview", help="Write small previews to FILE.preview.png.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Buy a picture: plan and price first, then live progress, then the PNG with its signed receipt."""

    def work(stage: Stage) -> Answer:
        from gpufair.client import wishing

        options = o.plain(
            negative=negative, steps=steps, guidance=guidance, size=size, seed=seed, scheduler=scheduler,
            precision=precision, model=model, loras=lora, image=image, strength=strength, mask=mask,
            outpaint=outpaint, max_price=max_price, trust_provider_ledger=trust_provider_ledger,
            gpu=gpu, memory=memory, isolation=isolation, profile=profile, region=region, ledger=ledger,
            strategy=strategy, bid_class=bid_class, bid=bid, notice=notice, bargain=bargain,
            preview_every=max(1, (steps or 20) // 5) if preview else 0, checkpoint_every=checkpoint_every,
        )  # fmt: skip
        if budget or count >= batch.BATCH_FROM:
            return batch.many(stage, prompt, options, count, output, budget=budget, hedge=hedge, yes=yes)
        wish = wishing.wish(prompt, count=count, **options)
        return _run(stage, wish, output, yes=yes, force=force)

    perform(home, as_json, work)


def _run(stage: Stage, wish: Wish, output: Path | None, *, yes: bool, force: bool) -> Answer:
    from gpufair.client.cli.answers import answer, plan_object, purchase_object
    from gpufair.client.pictures import folder as pictures

    file = output or pictures.name_for(wish.prompt, Path(), wish.count)
    paths = pictures.targets(file, wish.count)
    pictures.check_writable(paths, force=force)
    _check_can_ask(stage, yes=yes)
    plan, purchase, written = stage.with_buyer(lambda buyer: _buy(stage, buyer, wish, paths, yes=yes, force=force))
    _say_result(stage, purchase, written)
    return answer("run", plan=plan_object(plan), **purchase_object(purchase, written))


async def _buy(
    stage: Stage, buyer: Buyer, wish: Wish, paths: list[Path], *, yes: bool, force: bool
) -> tuple[Plan, Purchase, dict[int, str]]:
    from gpufair.client.cli.interrupts import leaving_at_once, stop_asked
    from gpufair.client.cli.progress import Watch
    from gpufair.client.failures import DeclinedError, PurchaseError
    from gpufair.client.pictures import folder as pictures

    plan = await buyer.plan(wish)
    _say_plan(stage, plan)
    if not yes:
        with leaving_at_once():
            wanted = typer.confirm("Buy it?", default=True, err=True)
        if not wanted:
            raise DeclinedError("not bought", hint="nothing was spent")
    preview = paths[0].with_suffix(".preview.png") if wish.preview_every else None
    try:
        watching = Watch(stage, count=plan.spec.count, steps=plan.spec.steps, preview=preview)
        with watching as watch, stop_asked(watch.stopping) as stop:
            purchase = await buyer.buy(plan, watch, stop=stop)
    except (PurchaseError, KeyboardInterrupt):
        _save_what_came(stage, buyer, paths, force=force)
        raise
    return plan, purchase, pictures.write(buyer.store, purchase, paths, force=force)


def _save_what_came(stage: Stage, buyer: Buyer, paths: list[Path], *, force: bool) -> None:
    """What did come is written before anybody is told why the rest did not."""
    from gpufair.client.pictures import folder as pictures
    from gpufair.client.wallet import purchases

    if stage.job:
        partly = purchases.find(buyer.store, stage.job.hex())
        for path in pictures.write(buyer.store, partly, paths, force=force).values():
            stage.say(f"  {path} is here all the same")


def _check_can_ask(stage: Stage, *, yes: bool) -> None:
    from gpufair.protocol.errors import Fault, LocalError

    if not yes and (stage.as_json or not sys.stdin.isatty()):
        hint = "add --yes to buy without being asked; --max-price bounds what that may cost"
        raise LocalError(Fault.MALFORMED, "there is no terminal to ask on", hint=hint)


def _say_plan(stage: Stage, plan: Plan) -> None:
    from gpufair.client.cli.views import plan_table, quote_table

    stage.out.print(plan_table(plan))
    stage.say()
    stage.out.print(quote_table(plan.candidate.quote))
    stage.say()


def _say_result(stage: Stage, purchase: Purchase, written: dict[int, str]) -> None:
    from gpufair.client.cli.views import cost_words, size
    from gpufair.protocol import identity

    made: Any = None
    for picture in purchase.opened:
        made = picture.claim
        where = written[picture.index]
        stage.say(f"✓ {where}  {made.spec.width}x{made.spec.height}, {size(made.plain_length)}", style="green")
    stage.say(f"  cost      {cost_words(purchase)}")
    stage.say(f"  job       {purchase.job.id.hex()[:12]}, seed {purchase.body.seed}")
    if made is not None:
        who = identity.short(purchase.last.lease.provider)
        stage.say(f"  receipt   signed by {who}, inside the PNG: gpufair verify {next(iter(written.values()))}")
