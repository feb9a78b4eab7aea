"""What is left of a job, wished for again. Rule: nothing about it is open but who does it, and for how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

from gpufair.client.market.choosing import Choices
from gpufair.client.market.wish import Wish
from gpufair.client.wallet.remains import Rest
from gpufair.protocol.messages import Adapter, Input, JobBody, ModelOffer, Spec, Task
from gpufair.protocol.ports import Random


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued(Wish):
    """A wish for a job that is there already."""

    rest: Rest
    lost: Mapping[str, str]
    """The providers that the work was taken from, and why: they are not asked again."""

    @property
    def task(self) -> Task:
        """That of the job."""
        return self.rest.spec.task

    def specs(self, model: ModelOffer, adapters: tuple[Adapter, ...] = ()) -> tuple[Spec, ...]:
        """The one that is left."""
        del model, adapters
        return (self.rest.spec,)

    def inputs(self, spec: Spec) -> tuple[Input, ...]:
        """What it began from, and how far it has come."""
        del spec
        return self.rest.body.inputs

    def body(self, model: ModelOffer, spec: Spec, random: Random) -> JobBody:
        """The same words and seed."""
        del model, spec, random
        return self.rest.body


def preferred(choices: Choices, wish: Wish) -> Choices:
    """Who makes the same bits comes first, whatever it costs within the highest price; else cheapest first."""
    if not isinstance(wish, Continued) or not wish.rest.profile:
        return choices
    good = sorted(choices.good, key=lambda choice: wish.rest.profile not in choice.offer.doc.profiles)
    return replace(choices, good=tuple(good))


def continued(rest: Rest, wish: Wish, *, max_price: int, lost: Mapping[str, str] = MappingProxyType({})) -> Continued:
    """The wish for what is left, for no more than so much; whatever else `wish` asks of a provider holds on."""
    asked = {field.name: getattr(wish, field.name) for field in fields(Wish)}
    of_the_rest = {
        "prompt": rest.body.prompt, "model": rest.spec.model.hex(), "count": rest.spec.count, "loras": (),
        "preview_every": rest.preview_every, "checkpoint_every": rest.checkpoint_every or None, "max_price": max_price,
    }  # fmt: skip
    return Continued(**(asked | of_the_rest), rest=rest, lost=lost)
