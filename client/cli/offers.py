"""`offers`, `quote`. Rule: what is shown was verified here; whatever was left out is counted, with its reason."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from gpufair.client.cli import filters as w
from gpufair.client.cli import options as o
from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.buyer import Buyer
    from gpufair.client.market.wish import Wish
    from gpufair.protocol.search.filters import Search
    from gpufair.protocol.search.strategies import Strategy


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Market")(offers)
    app.command(rich_help_panel="Market")(quote)


def offers(
    model: Annotated[str, typer.Option("--model", "-m", help="Only offers of this model: name or digest.")] = "",
    task: Annotated[str, typer.Option("--task", help="text_to_image, image_to_image or inpaint.")] = "",
    bid_class: Annotated[str, typer.Option("--class", help="on_demand, interruptible or reserved.")] = "",
    max_price: Annotated[
        str, typer.Option("--max-price", metavar="CREDITS", help="For a picture of 512x512 in 25 guided steps.")
    ] = "",
    gpu: w.Gpu = "",
    memory: w.Memory = "",
    isolation: w.Isolated = "",
    profile: w.Profile = "",
    region: w.Region = "",
    ledger: w.Ledger = "",
    strategy: w.StrategyName = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Show so many at most.")] = 20,
    unused: Annotated[bool, typer.Option("--unused", help="Show why each of the others is left out.")] = False,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Show who sells what, for how much: the best first, and how many pass each filter."""

    def work(stage: Stage) -> Answer:
        wanted = w.make_search(
            task=task, bid_class=bid_class, max_price=max_price, gpu=gpu, memory=memory, isolation=isolation,
            profile=profile, region=region, ledger=ledger,
        )  # fmt: skip
        how = w.make_strategy(strategy)
        return stage.with_buyer(lambda buyer: _offers(stage, buyer, model, wanted, how, limit=limit, unused=unused))

    perform(home, as_json, work)


def quote(
    prompt: Annotated[
        str, typer.Argument(help="As for `run`: the price doesn't depend on it.", show_default=False)
    ] = "anything",
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
    bid_class: w.ClassName = "",
    bid: w.Bid = "",
    notice: w.Notice = None,
    bargain: w.Bargain = "",
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Compute what a job would cost at each offer, line by line. Nothing is signed or sent."""

    def work(stage: Stage) -> Answer:
        wish = o.make_wish(
            prompt, negative=negative, steps=steps, guidance=guidance, size=size, seed=seed, scheduler=scheduler,
            precision=precision, count=count, model=model, loras=lora, image=image, strength=strength, mask=mask,
            outpaint=outpaint, max_price=max_price, gpu=gpu, memory=memory, isolation=isolation, profile=profile,
            region=region, ledger=ledger, strategy=strategy, bid_class=bid_class, bid=bid, notice=notice,
            bargain=bargain,
        )  # fmt: skip
        return stage.with_buyer(lambda buyer: _quote(stage, buyer, wish))

    perform(home, as_json, work)


async def _offers(
    stage: Stage, buyer: Buyer, model: str, wanted: Search, how: Strategy | None, *, limit: int, unused: bool
) -> Answer:
    from gpufair.client.cli import found as f
    from gpufair.client.cli.answers import answer, found_object, offer_object
    from gpufair.client.market.asking import search_question
    from gpufair.client.market.choosing import models_on_sale, pick_model
    from gpufair.client.market.searching import search
    from gpufair.client.wallet.bans import banned

    strategy = how or buyer.config.strategy
    market = await buyer.market(wanted=search_question(wanted, model, strategy))
    if model:
        wanted = replace(wanted, model=pick_model(models_on_sale(market.offers), model).digest)
    result = search(market, wanted, strategy, limit=limit, bans=banned(buyer.store))
    if not market.offers:
        stage.say(f"{market.asked} node{'' if market.asked == 1 else 's'} answered, and none knows of an offer.")
        stage.say("Next: gpufair peers add HOST:PORT", style="dim")
    else:
        for line in f.offers(result):
            stage.out.print(line)
        for words in (*f.directories(market.searches), *f.counts(result), *(f.unused(result.unused) if unused else ())):
            stage.say(words, style="dim")
        for words in f.banned(result.banned):
            stage.say(words, style="dim")
        for words in f.advice(result.found):
            stage.say(words)
    for trouble in market.troubles[:8]:
        # What could not be reached names the address itself.
        named = trouble.what if trouble.what.startswith(trouble.source) else f"{trouble.source}: {trouble.what}"
        stage.say(f"left out: {named}", style="dim")
    troubles = [{"source": one.source, "what": one.what} for one in market.troubles]
    return answer(
        "offers", asked=market.asked, offers=[offer_object(one) for one in result.offers], left_out=troubles,
        search=found_object(result.found), unused=f.unused_objects(result.unused) if unused else [],
        banned=[{"provider": did, "why": why} for did, why in result.banned],
    )  # fmt: skip


async def _quote(stage: Stage, buyer: Buyer, wish: Wish) -> Answer:
    from gpufair.client.cli.answers import answer, choice_object, count_objects, reason_object
    from gpufair.client.cli.found import counted, the_best
    from gpufair.client.cli.views import about, quote_table, steps_words, task_words
    from gpufair.client.market.choosing import seller, summary
    from gpufair.client.market.plan import check_price
    from gpufair.protocol.timing import estimate_us
    from gpufair.protocol.units import show

    choices = buyer.choose(await buyer.market(wish), wish)
    check_price(choices, wish, buyer.config)
    best = choices.good[0]
    if wish.begin is not None:
        stage.say(f"  from      {wish.begin.words(best.spec.width, best.spec.height)}")
        stage.say(f"  job       {' · '.join([*task_words(best.spec), steps_words(best.spec)])}\n")
    stage.out.print(quote_table(best.candidate.quote))
    stage.say(f"\nat {seller(best)}, {the_best(choices.strategy)} of {len(choices.good)} that match")
    if estimate := about(estimate_us(best.spec, best.candidate.model)):
        stage.say(f"{estimate} there, as the provider measured it")
    for other in choices.good[1:6]:
        stage.say(f"   {seller(other)}  {show(other.candidate.quote.total)}", style="dim")
    if choices.dropped:
        stage.say(f"{len(choices.dropped)} do not match: {summary(choices.dropped)}", style="dim")
    stage.say(counted(choices.counts, len(choices.good) + len(choices.dropped)), style="dim")
    dropped = [{"provider": did, "reasons": [reason_object(r) for r in why]} for did, why in choices.dropped]
    return answer(
        "quote", choices=[choice_object(one) for one in choices.good], dropped=dropped,
        strategy=str(choices.strategy), counts=count_objects(choices.counts),
    )  # fmt: skip
