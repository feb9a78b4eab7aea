"""What a directory that knows too many offers is asked for. Rule: the wish's own filters, and never what it is about.

Size, steps and prompt stay here: what the job costs where is computed from the offers that come.
"""

from __future__ import annotations

from dataclasses import replace

from gpufair.client.market.wish import Wish
from gpufair.protocol.messages import BidClass, SearchRequest
from gpufair.protocol.search.asking import request
from gpufair.protocol.search.filters import Search
from gpufair.protocol.search.strategies import Strategy

_DIGEST_DIGITS = 64
_PREFIX_MIN = 4


def question(wish: Wish, model: str, strategy: Strategy) -> SearchRequest | None:
    """The question for a wish, `model` being what it is to be made with; None where no directory could answer it."""
    stake = wish.stake.bid_class
    wanted = replace(wish.where, task=wish.task, bid_class=None if stake is BidClass.ON_DEMAND else stake)
    return search_question(wanted, model, strategy)


def search_question(wanted: Search, model: str, strategy: Strategy) -> SearchRequest | None:
    """The question for a search; the first digits of a digest are none, for directories know models as a whole."""
    digits = set(model.lower()) <= set("0123456789abcdef")
    if digits and _PREFIX_MIN <= len(model) < _DIGEST_DIGITS:
        return None
    if digits and len(model) == _DIGEST_DIGITS:
        return request(replace(wanted, model=bytes.fromhex(model)), strategy)
    return request(replace(wanted, name=model), strategy)
