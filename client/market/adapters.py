"""LoRAs by name. Rule: a name is whatever the sellers agree that it is, or it is asked for by digest."""

from __future__ import annotations

from collections.abc import Iterable

from gpufair.client.failures import NoOfferError
from gpufair.client.market.wish import Lora
from gpufair.protocol.messages import Adapter, AdapterOffer

_PREFIX_MIN = 4


def pick_adapters(offered: Iterable[AdapterOffer], wanted: Iterable[Lora], model: bytes) -> tuple[Adapter, ...]:
    """The adapters that a wish's LoRAs are, those before others that fit the model.

    Raises NoOfferError where nobody has one, or a name is that of several.
    """
    everyone = list(offered)
    return tuple(Adapter(_pick(everyone, one.name, model), one.weight_milli) for one in wanted)


def _pick(offered: list[AdapterOffer], wanted: str, model: bytes) -> bytes:
    low = wanted.lower()
    found = [one for one in offered if one.name.lower() == low]
    found = found or [one for one in offered if len(low) >= _PREFIX_MIN and one.digest.hex().startswith(low)]
    fitting = [one for one in found if model in one.models] or found
    digests = {one.digest for one in fitting}
    if not digests:
        raise NoOfferError(f"nobody offers the LoRA {wanted!r}", hint=f"on offer: {_names(offered) or 'none'}")
    if len(digests) > 1:
        raise NoOfferError(f"{len(digests)} LoRAs fit {wanted!r}", hint=f"say which by its digest: {_names(fitting)}")
    return digests.pop()


def _names(some: list[AdapterOffer]) -> str:
    return ", ".join(sorted({f"{one.name} ({one.digest.hex()[:12]})" for one in some})[:12])
