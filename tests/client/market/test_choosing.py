"""From a market to who can do it: cheapest first, everyone else with a reason and its numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpufair.client.config import Config
from gpufair.client.failures import FundsError, NoOfferError
from gpufair.client.market.choosing import choose, models_on_sale, pick_model, summary
from gpufair.client.market.plan import check_price
from gpufair.client.market.wish import Wish
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import ModelState, Precision, ReasonCode

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
            choose(a_market(60, **fields), WISH)
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


def test_reasons_are_counted_by_offer_not_by_number() -> None:
    assert summary([]) == "none of them with a reason"


def test_whoever_is_banned_is_left_out_with_the_reason(a_market: Any) -> None:
    market = a_market(60, 300)
    cheat = market.offers[0].issuer
    choices = choose(market, WISH, bans={cheat: "step 3 was not done"})
    assert [choice.offer for choice in choices.good] == [market.offers[1]]
    [(who, (reason,))] = choices.dropped
    assert (who, reason.code, reason.detail) == (cheat, ReasonCode.AUDIT_FAILED, "step 3 was not done")
