"""What a search looks at of an offer. Rule: price and time of one reference picture, the same for everybody.

It has 512 x 512 pixels and 25 guided steps, and the model is loaded first if it is not warm. So offers can be compared
before anybody knows the job; what a job costs is its quote, and nothing here.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from gpufair.protocol.messages import (
    BidClass,
    Isolation,
    ModelOffer,
    ModelState,
    Offer,
    Precision,
    PriceSheet,
    Scheduler,
    Spec,
    Task,
)
from gpufair.protocol.pricing import quote
from gpufair.protocol.timing import expected_us

REFERENCE = Spec(Task.TEXT_TO_IMAGE, bytes(32), Scheduler.DDIM, Precision.EXACT, 512, 512, 25, 1, guided=True)
"""The picture whose price and time offers are compared by."""
ANY = b""
"""The model that a search names which takes all of them."""

_WORDS = re.compile(r"[a-z0-9]+")
_BETWEEN = re.compile(r"[-_/. ]+")


class Good(NamedTuple):
    """A model that can be had: what the reference picture costs there (micro-credits), and how long it takes."""

    model: bytes
    tasks: tuple[Task, ...]
    price: int
    time_us: int


class Facts(NamedTuple):
    """What a search looks at of an offer. `names` are those of its models, `regions` its region and all beginnings.

    A tuple, since each renewed offer's facts are compared with those before.
    """

    did: str
    goods: tuple[Good, ...]
    names: tuple[str, ...]
    gpus: tuple[str, ...]
    memory_bytes: int
    isolation: Isolation
    classes: tuple[BidClass, ...]
    profiles: tuple[bytes, ...]
    regions: tuple[str, ...]
    ledgers: tuple[str, ...]

    def good(self, model: bytes) -> Good | None:
        """The model, if it is sold; for ANY the best price and the best time of all."""
        if model != ANY:
            return next((good for good in self.goods if good.model == model), None)
        if not self.goods:
            return None
        tasks = tuple(dict.fromkeys(task for good in self.goods for task in good.tasks))
        return Good(ANY, tasks, min(good.price for good in self.goods), min(good.time_us for good in self.goods))


def facts(did: str, offer: Offer) -> Facts:
    """What there is to look at in an offer of `did`."""
    here = [model for model in offer.models if model.state is not ModelState.ABSENT]
    sold: dict[bytes, Good] = {}
    for model in here:
        sold.setdefault(model.digest, _good(model, offer.queue_ms))
    return Facts(
        did=did,
        goods=tuple(sold.values()),
        names=tuple(dict.fromkeys(model.name.lower() for model in here)),
        gpus=tuple(dict.fromkeys(words(gpu.name) for gpu in offer.gpus)),
        memory_bytes=max((gpu.memory_bytes for gpu in offer.gpus), default=offer.memory_bytes),
        isolation=offer.isolation,
        classes=offer.classes,
        profiles=offer.profiles,
        regions=beginnings(offer.region),
        ledgers=tuple(dict.fromkeys(ref.did for ref in offer.ledgers)),
    )


@lru_cache(maxsize=4_096)
def words(name: str) -> str:
    """A GPU's name in small letters and plain words: `NVIDIA RTX-4090` is `nvidia rtx 4090`."""
    return " ".join(_WORDS.findall(name.lower()))


@lru_cache(maxsize=4_096)
def beginnings(region: str) -> tuple[str, ...]:
    """A region and all that it lies in: `eu-north-1` lies in `eu-north` and in `eu`."""
    parts = [part for part in _BETWEEN.split(region.lower()) if part]
    return tuple("-".join(parts[: end + 1]) for end in range(len(parts)))


def region(text: str) -> str:
    """A region as it is compared."""
    return (beginnings(text) or ("",))[-1]


def _good(model: ModelOffer, queue_ms: int) -> Good:
    sheet = model.sheet
    cold = 0 if model.state is ModelState.WARM else sheet.per_cold_load
    price = _price(sheet.per_step_megapixel, sheet.per_decoded_megapixel, cold, sheet.minimum)
    return Good(model.digest, model.tasks, price, expected_us(REFERENCE, model, queue_ms))


@lru_cache(maxsize=4_096)
def _price(step: int, decoded: int, cold: int, minimum: int) -> int:
    return quote(REFERENCE, PriceSheet(REFERENCE.model, step, decoded, cold, 0, minimum), first=True).total
