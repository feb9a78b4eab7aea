"""`offers`, `quote`. Rule: what is shown was verified here; whatever was left out is counted, with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpufair.client.cli import options as o
from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.buyer import Buyer
    from gpufair.client.market.wish import Wish


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Market")(offers)
    app.command(rich_help_panel="Market")(quote)


def offers(
    model: Annotated[str, typer.Option("--model", "-m", help="Only offers of this model: name or digest.")] = "",
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Show who sells what, for how much."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _offers(stage, buyer, model)))


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
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Compute what a job would cost at each offer, line by line. Nothing is signed or sent."""

    def work(stage: Stage) -> Answer:
        wish = o.make_wish(
            prompt, negative=negative, steps=steps, guidance=guidance, size=size, seed=seed, scheduler=scheduler,
            precision=precision, count=count, model=model, loras=lora, image=image, strength=strength, mask=mask,
            outpaint=outpaint, max_price=max_price,
        )  # fmt: skip
        return stage.with_buyer(lambda buyer: _quote(stage, buyer, wish))

    perform(home, as_json, work)


async def _offers(stage: Stage, buyer: Buyer, model: str) -> Answer:
    from gpufair.client.cli.answers import answer, offer_object
    from gpufair.client.cli.views import offer_lines
    from gpufair.client.market.choosing import models_on_sale, pick_model

    market = await buyer.market()
    shown = market.offers
    if model:
        wanted = pick_model(models_on_sale(shown), model).digest
        shown = [offer for offer in shown if any(m.digest == wanted for m in offer.doc.models)]
    if shown:
        for offer in shown:
            for line in offer_lines(offer):
                stage.out.print(line)
        sold = models_on_sale(shown)
        stage.say("\nNext: " + ("gpufair run 'a fox on a green background'" if sold else "gpufair peers add HOST:PORT"))
    else:
        stage.say(f"{market.asked} node{'' if market.asked == 1 else 's'} answered, and none knows of an offer.")
        stage.say("Next: gpufair peers add HOST:PORT", style="dim")
    for trouble in market.troubles[:8]:
        # What could not be reached names the address itself.
        named = trouble.what if trouble.what.startswith(trouble.source) else f"{trouble.source}: {trouble.what}"
        stage.say(f"left out: {named}", style="dim")
    troubles = [{"source": one.source, "what": one.what} for one in market.troubles]
    return answer("offers", asked=market.asked, offers=[offer_object(one) for one in shown], left_out=troubles)


async def _quote(stage: Stage, buyer: Buyer, wish: Wish) -> Answer:
    from gpufair.client.cli.answers import answer, choice_object, reason_object
    from gpufair.client.cli.views import about, quote_table, steps_words, task_words
    from gpufair.client.market.choosing import seller, summary
    from gpufair.client.market.plan import check_price
    from gpufair.protocol.timing import estimate_us
    from gpufair.protocol.units import show

    choices = buyer.choose(await buyer.market(), wish)
    check_price(choices, wish, buyer.config)
    best = choices.good[0]
    if wish.begin is not None:
        stage.say(f"  from      {wish.begin.words(best.spec.width, best.spec.height)}")
        stage.say(f"  job       {' · '.join([*task_words(best.spec), steps_words(best.spec)])}\n")
    stage.out.print(quote_table(best.candidate.quote))
    stage.say(f"\nat {seller(best)}, the cheapest of {len(choices.good)} that match")
    if estimate := about(estimate_us(best.spec, best.candidate.model)):
        stage.say(f"{estimate} there, as the provider measured it")
    for other in choices.good[1:6]:
        stage.say(f"   {seller(other)}  {show(other.candidate.quote.total)}", style="dim")
    if choices.dropped:
        stage.say(f"{len(choices.dropped)} do not match: {summary(choices.dropped)}", style="dim")
    dropped = [{"provider": did, "reasons": [reason_object(r) for r in why]} for did, why in choices.dropped]
    return answer("quote", choices=[choice_object(one) for one in choices.good], dropped=dropped)
