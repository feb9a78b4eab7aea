"""From a market to who can do it: cheapest first, everyone else with a reason and its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpufair.client.config import Config
from gpufair.client.failures import FundsError, NoOfferError
from gpufair.client.market.adapters import pick_adapters
from gpufair.client.market.choosing import choose, models_on_sale, pick_model, summary
from gpufair.client.market.plan import check_price
from gpufair.client.market.wish import Lora, Wish
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import (
    Adapter,
    AdapterOffer,
    Input,
    InputKind,
    ModelState,
    Precision,
    ReasonCode,
    Scheduler,
    Task,
)

WISH = Wish("a fox", width=64, height=64, steps=20, guidance_milli=2_500)


def test_the_cheapest_comes_first(a_market: Any) -> None:
    choices = choose(a_market(900, 60, 300), WISH)
    totals = [choice.candidate.quote.total for choice in choices.good]
    assert totals == sorted(totals)
    assert totals[0] == 11
    assert len(totals) == 3


def test_those_that_cannot_are_dropped_with_numbers(a_market: Any) -> None:
    with pytest.raises(NoOfferError) as caught:
        choose(a_market(60, 60), Wish("a fox", width=2048, height=2048, steps=200))
    assert len(caught.value.dropped) == 2
    codes = {reason.code for reason in caught.value.dropped[0][1]}
    assert codes == {ReasonCode.SIZE_TOO_LARGE, ReasonCode.STEPS_TOO_MANY}
    assert "2 size too large" in caught.value.what
    large = next(r for r in caught.value.reasons if r.code is ReasonCode.SIZE_TOO_LARGE)
    assert (large.wanted, large.limit) == (2048 * 2048, 2**20)


def test_an_offer_without_its_node_record_is_dropped(a_market: Any) -> None:
    market = a_market(60, 300)
    market.records.pop(market.offers[0].issuer)
    choices = choose(market, WISH)
    assert [choice.offer for choice in choices.good] == [market.offers[1]]
    assert choices.dropped[0][1][0].code is ReasonCode.OFFER_UNKNOWN


def test_an_offer_that_names_another_record_is_dropped(a_market: Any, a_seller: Any) -> None:
    market = a_market(60)
    market.records[market.offers[0].issuer] = a_seller(1).record(sequence=2)
    with pytest.raises(NoOfferError):
        choose(market, WISH)


def test_an_offer_without_a_worker_image_or_window_is_dropped(a_market: Any) -> None:
    for fields, code in (
        ({"worker_images": ()}, ReasonCode.IMAGE_NOT_OFFERED),
        ({"window_max": 1}, ReasonCode.WINDOW_TOO_SMALL),
    ):
        with pytest.raises(NoOfferError) as caught:
            choose(a_market(6_000, **fields), WISH)
        assert [reason.code for reason in caught.value.reasons] == [code]


def test_a_seller_to_whom_nothing_can_be_sealed_is_dropped(a_market: Any) -> None:
    market = a_market(60, 300)
    cheap = market.offers[0]
    record = market.records[cheap.issuer]
    useless = replace(record.doc, sealing_key=bytes(32))
    market.records[cheap.issuer] = replace(record, doc=useless)
    choices = choose(market, WISH)
    assert [choice.offer for choice in choices.good] == [market.offers[1]]
    assert "sealing key" in choices.dropped[0][1][0].detail


def test_a_seller_of_half_precision_only_is_found_too(a_market: Any) -> None:
    choices = choose(a_market(60, precisions=(Precision.HALF,)), WISH)
    assert choices.good[0].spec.precision is Precision.HALF


def test_exact_is_preferred_where_both_are_sold(a_market: Any) -> None:
    choices = choose(a_market(60, precisions=(Precision.HALF, Precision.EXACT)), WISH)
    assert [choice.spec.precision for choice in choices.good] == [Precision.EXACT]


def test_a_model_is_named_by_name_or_digits(a_model: Any) -> None:
    one, two = a_model(), a_model(bytes([8]) * 32, "Other")
    models = {one.digest: one, two.digest: two}
    assert pick_model(models, "DEMO") == one
    assert pick_model(models, "0808") == two
    assert pick_model({one.digest: one}, "") == one
    for wanted, words in (("", "2 models are on sale"), ("0", "nobody sells"), ("third", "nobody sells")):
        with pytest.raises(NoOfferError, match=words) as caught:
            pick_model(models, wanted)
        assert "demo (070707070707)" in caught.value.hint
    twin = a_model(bytes([9]) * 32, "demo")
    with pytest.raises(NoOfferError, match="2 models fit"):
        pick_model({one.digest: one, twin.digest: twin}, "demo")
    with pytest.raises(NoOfferError, match="nobody that answers"):
        pick_model({}, "")


def test_a_model_that_is_not_there_is_not_on_sale(a_seller: Any, a_model: Any) -> None:
    seller = a_seller(1)
    offer = seller.offer(seller.record(), a_model(state=ModelState.ABSENT))
    assert models_on_sale([offer]) == {}


def test_the_highest_price_is_the_options_then_the_configs(a_market: Any) -> None:
    choices = choose(a_market(60, 900), WISH)
    assert len(check_price(choices, WISH, Config())) == 2
    assert len(check_price(choices, WISH, Config(max_price=11))) == 1
    generous = Wish("a fox", max_price=1_000)
    assert len(check_price(choices, generous, Config(max_price=11))) == 2
    with pytest.raises(FundsError) as caught:
        check_price(choices, WISH, Config(max_price=10))
    assert (caught.value.wanted, caught.value.limit) == (11, 10)


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": ""},
        {"prompt": "  \n"},
        {"prompt": "x" * 8193},
        {"prompt": "\ud800"},
        {"negative": "é" * 5000},
        {"width": 7},
        {"width": 100},
        {"height": 8192},
        {"steps": 0},
        {"steps": 501},
        {"guidance_milli": -1},
        {"guidance_milli": 50_001},
        {"seed": -1},
        {"seed": 2**63},
        {"count": 0},
        {"count": 65},
        {"max_price": -1},
    ],
)
def test_a_wish_out_of_bounds_is_refused_before_anyone_is_asked(fields: dict[str, Any]) -> None:
    with pytest.raises(LocalError):
        Wish(**({"prompt": "a fox"} | fields)).check()


def test_what_was_left_open_suits_the_model(a_model: Any) -> None:
    spec = Wish("a fox").specs(a_model())[0]
    assert (spec.width, spec.steps, spec.guided) == (64, 20, True)
    assert not Wish("a fox", guidance_milli=1_000).specs(a_model())[0].guided
    large = a_model(name="anything", family="StableDiffusionXLPipeline")
    assert Wish("a fox").specs(large)[0].width == 1024


class Begun:
    """What a picture may begin from, without a picture."""

    def __init__(self, task: Task = Task.IMAGE_TO_IMAGE, size: tuple[int, int] = (96, 72)) -> None:
        self.task, self.size, self.made = task, size, []

    def inputs(self, width: int, height: int) -> tuple[Input, ...]:
        self.made.append((width, height))
        return (Input(InputKind.IMAGE, b"png"),)

    def words(self, width: int, height: int) -> str:
        return f"{width}x{height}"


@pytest.mark.parametrize(
    ("steps", "strength", "computed", "skipped"),
    [(20, 600, 12, 8), (20, None, 12, 8), (20, 1000, 20, 0), (20, 1, 1, 19), (1, 500, 1, 0), (7, 500, 3, 4)],
)
def test_strength_is_steps_that_are_computed_and_skipped(
    a_model: Any, steps: int, strength: int | None, computed: int, skipped: int
) -> None:
    [spec, *_] = Wish("a fox", steps=steps, strength_milli=strength, begin=Begun()).specs(a_model())
    assert (spec.task, spec.steps, spec.skip) == (Task.IMAGE_TO_IMAGE, computed, skipped)


def test_a_mask_is_filled_from_noise_unless_told_otherwise(a_model: Any) -> None:
    [spec, *_] = Wish("a fox", begin=Begun(Task.INPAINT)).specs(a_model())
    assert (spec.task, spec.steps, spec.skip) == (Task.INPAINT, 20, 0)


def test_a_picture_says_the_size_where_the_model_leaves_it_open(a_model: Any) -> None:
    free = a_model(name="any")
    begun = Wish("a fox", begin=Begun())
    assert {(one.width, one.height) for one in begun.specs(free)} == {(96, 72)}
    assert {(one.width, one.height) for one in begun.specs(a_model())} == {(64, 64)}, "the demo draws one size alone"
    asked = replace(begun, width=128, height=64)
    assert {(one.width, one.height) for one in asked.specs(free)} == {(128, 64)}


def test_the_finest_precision_that_is_sold_unless_one_is_asked_for(a_market: Any, a_model: Any) -> None:
    every = tuple(one.precision for one in WISH.specs(a_model()))
    assert every == (Precision.EXACT, Precision.SINGLE, Precision.HALF)
    market = a_market(60, 300, precisions=(Precision.SINGLE, Precision.HALF))
    assert choose(market, WISH).good[0].spec.precision is Precision.SINGLE
    assert choose(market, replace(WISH, precision=Precision.HALF)).good[0].spec.precision is Precision.HALF
    with pytest.raises(NoOfferError, match="precision not offered"):
        choose(market, replace(WISH, precision=Precision.EXACT))


def test_a_model_that_has_its_own_scheduler_is_asked_for_that(a_model: Any) -> None:
    stranger = a_model(schedulers=(Scheduler.OWN,))
    assert WISH.specs(stranger)[0].scheduler is Scheduler.OWN
    assert replace(WISH, scheduler=Scheduler.EULER).specs(stranger)[0].scheduler is Scheduler.EULER
    assert WISH.specs(a_model())[0].scheduler is Scheduler.DDIM


def test_inputs_are_made_before_anybody_is_bid_to(a_market: Any, a_model: Any) -> None:
    tasks = (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE)
    begun = Begun()
    market = a_market(60, tasks=tasks)
    with pytest.raises(NoOfferError, match="task not offered"):  # the model itself doesn't
        choose(market, replace(WISH, begin=begun))
    assert begun.made == []
    seller = market.offers[0]
    able = replace(seller.doc, models=(a_model(tasks=tasks),))
    market.offers[0] = replace(seller, doc=able)
    assert choose(market, replace(WISH, begin=begun)).good[0].spec.task is Task.IMAGE_TO_IMAGE
    assert begun.made == [(64, 64)]


LORAS = {name: bytes([number]) * 32 for number, name in enumerate(("pixel", "ink", "Pixel"), 1)}


def offered(model: bytes, **fits: bool) -> list[AdapterOffer]:
    return [AdapterOffer(LORAS[name], name, "", (model,) if fit else ()) for name, fit in fits.items()]


def test_loras_are_found_by_name_or_digest_those_that_fit_first(a_model: Any) -> None:
    model = a_model().digest
    wanted = (Lora("PIXEL", 500), Lora(LORAS["ink"].hex()[:6]))
    found = pick_adapters(offered(model, pixel=True, ink=False, Pixel=False), wanted, model)
    assert found == (Adapter(LORAS["pixel"], 500), Adapter(LORAS["ink"], 1_000))
    with pytest.raises(NoOfferError, match="2 LoRAs fit 'pixel'"):
        pick_adapters(offered(model, pixel=True, Pixel=True), (Lora("pixel"),), model)
    with pytest.raises(NoOfferError, match="nobody offers the LoRA 'oil'") as caught:
        pick_adapters(offered(model, ink=True), (Lora("oil"),), model)
    assert "ink" in caught.value.hint


def test_a_lora_for_another_family_is_refused_with_the_reason(a_market: Any, a_model: Any) -> None:
    model = a_model().digest
    market = a_market(60, adapters=tuple(offered(bytes(32), pixel=True)))
    with pytest.raises(NoOfferError) as caught:
        choose(market, replace(WISH, loras=(Lora("pixel"),)))
    [reason] = caught.value.dropped[0][1]
    assert reason.code is ReasonCode.ADAPTERS_NOT_OFFERED
    assert "does not fit the model" in reason.detail
    market = a_market(60, adapters=tuple(offered(model, pixel=True)))
    [choice] = choose(market, replace(WISH, loras=(Lora("pixel", -300),))).good
    assert choice.spec.adapters == (Adapter(LORAS["pixel"], -300),)


def test_reasons_are_counted_by_offer_not_by_number() -> None:
    assert summary([]) == "none of them with a reason"


def test_whoever_is_banned_is_left_out_with_the_reason(a_market: Any) -> None:
    market = a_market(60, 300)
    cheat = market.offers[0].issuer
    choices = choose(market, WISH, bans={cheat: "step 3 was not done"})
    assert [choice.offer for choice in choices.good] == [market.offers[1]]
    [(who, (reason,))] = choices.dropped
    assert (who, reason.code, reason.detail) == (cheat, ReasonCode.BANNED, "step 3 was not done")
