"""What is on sale, what is let in, and how the offer tells."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from gpufair.protocol import families, limits, matching
from gpufair.protocol.memory import Footprint
from gpufair.protocol.messages import (
    Adapter,
    AdapterOffer,
    Gpu,
    JobHeader,
    ModelState,
    Precision,
    ReasonCode,
    Scheduler,
    Spec,
    Speed,
    Task,
)
from gpufair.provider.config import WorkersConfig
from gpufair.provider.sales.offers import RENEW_AFTER_MS
from gpufair.provider.sales.stock import Model

LORA = hashlib.sha256(b"lora").digest()


def header(world: Any, **changes: Any) -> JobHeader:
    desk = world.desk_of("client")
    spec = Spec(
        Task.TEXT_TO_IMAGE, world.models[0].digest, Scheduler.DDIM, Precision.EXACT, 512, 512, 20, 1, guided=True
    )
    return JobHeader(
        head=desk.head(world.desk.did), lease=bytes(32), job=bytes(16), spec=replace(spec, **changes),
        worker_image=bytes(32), body_sha256=bytes(32), audit_commitment=b"", deadline_ms=1, memory_bytes=0,
        preview_every=0,
    )  # fmt: skip


def test_a_job_within_all_limits_is_welcome(world: Any) -> None:
    assert world.stock.admit(header(world), 0) == ()
    assert world.stock.admit(header(world, width=1024, height=1024, steps=100, count=16), 0) == ()
    assert world.stock.admit(header(world, precision=Precision.SINGLE), 0) == ()
    for task in (Task.IMAGE_TO_IMAGE, Task.INPAINT):
        assert world.stock.admit(header(world, task=task, steps=12, skip=8), 0) == ()
    assert world.stock.admit(header(world, adapters=(Adapter(LORA, 500),)), 0) == ()


def test_what_a_stranger_to_us_can_do(world: Any) -> None:
    owl = world.models[1].digest
    assert world.stock.admit(header(world, model=owl, scheduler=Scheduler.OWN), 0) == ()
    refused = world.stock.admit(header(world, model=owl, task=Task.INPAINT, adapters=(Adapter(LORA, 500),)), 0)
    assert {reason.code for reason in refused} == {
        ReasonCode.TASK_NOT_OFFERED, ReasonCode.SCHEDULER_NOT_OFFERED, ReasonCode.ADAPTERS_NOT_OFFERED,
    }  # fmt: skip


def test_the_offer_and_the_door_say_the_same(world: Any) -> None:
    """Buyers look at the offer, the provider at its stock: of every job they think the same."""
    world.models[0] = replace(world.models[0], own=families.LCM)
    offer = world.offers.current().doc
    for model, task, scheduler, precision, lora in product(
        (*(m.digest for m in world.models), bytes(32)), Task, Scheduler, Precision, (LORA, bytes(32), None)
    ):
        adapters = (Adapter(lora, 1000),) if lora else ()
        wanted = header(
            world, model=model, task=task, scheduler=scheduler, precision=precision, adapters=adapters, skip=3
        )
        assert matching.feasible(offer, wanted.spec) == world.stock.admit(wanted, 0)


def test_half_precision_is_all_that_weights_of_16_bits_give(world: Any) -> None:
    assert world.offers.current().doc.precisions == (Precision.EXACT, Precision.SINGLE)
    world.restart(workers=WorkersConfig(dtype="bfloat16"))
    assert world.offers.current().doc.precisions == (Precision.HALF,)
    assert world.stock.admit(header(world, precision=Precision.HALF), 0) == ()
    (reason,) = world.stock.admit(header(world), 0)
    assert reason.code is ReasonCode.PRECISION_NOT_OFFERED


@pytest.mark.parametrize(
    ("change", "code", "wanted", "limit"),
    [
        ({"width": 1024, "height": 1032}, ReasonCode.SIZE_TOO_LARGE, 1024 * 1032, 1024 * 1024),
        ({"steps": 101}, ReasonCode.STEPS_TOO_MANY, 101, 100),
        ({"steps": 0}, ReasonCode.STEPS_TOO_MANY, 0, 100),
        ({"count": 17}, ReasonCode.COUNT_TOO_LARGE, 17, 16),
        ({"model": bytes(32)}, ReasonCode.MODEL_NOT_OFFERED, 0, 0),
        ({"skip": 1}, ReasonCode.STEPS_TOO_MANY, 1, 0),
        ({"task": Task.INPAINT, "skip": 481}, ReasonCode.STEPS_TOO_MANY, 501, 500),
        ({"scheduler": Scheduler.OWN}, ReasonCode.SCHEDULER_NOT_OFFERED, 0, 0),
        ({"scheduler": Scheduler.LCM}, ReasonCode.SCHEDULER_NOT_OFFERED, 0, 0),
        ({"scheduler": Scheduler.UNSPECIFIED}, ReasonCode.SCHEDULER_NOT_OFFERED, 0, 0),
        ({"precision": Precision.HALF}, ReasonCode.PRECISION_NOT_OFFERED, 0, 0),
        ({"task": Task.UNSPECIFIED}, ReasonCode.TASK_NOT_OFFERED, 0, 0),
        ({"adapters": (Adapter(bytes(32), 1000),)}, ReasonCode.ADAPTERS_NOT_OFFERED, 1, 0),
    ],
)
def test_each_objection_to_a_job(world: Any, change: dict[str, Any], code: ReasonCode, wanted: int, limit: int) -> None:
    (reason,) = world.stock.admit(header(world, **change), 0)
    assert (reason.code, reason.wanted, reason.limit) == (code, wanted, limit)


def test_memory_and_queue(world: Any) -> None:
    much = 4096 * limits.MIB
    assert world.stock.admit(replace(header(world), memory_bytes=much), 0) == ()
    (reason,) = world.stock.admit(replace(header(world), memory_bytes=much + 1), 0)
    assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.MEMORY_SHORT, much + 1, much)
    (reason,) = world.stock.admit(header(world), 8)
    assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.QUEUE_FULL, 9, 8)


@pytest.mark.parametrize(
    ("allow", "refuse", "sold"),
    [
        ((), (), ["fox", "owl"]),
        (("owl",), (), ["owl"]),
        ((), ("fox",), ["owl"]),
        (("fox", "owl"), ("fox",), ["owl"]),
        (("nothing",), (), []),
        (("",), (), []),
        ((), ("",), ["fox", "owl"]),
    ],
)
def test_allowed_and_refused_models(
    world: Any, lists: Any, allow: tuple[str, ...], refuse: tuple[str, ...], sold: list[str]
) -> None:
    world.restart(models=lists(allow, refuse))
    assert [model.name for model in world.offers.current().doc.models] == sold
    first = world.models[0]
    refused = [r.code for r in world.stock.admit(header(world), 0)]
    assert (ReasonCode.MODEL_NOT_OFFERED in refused) == (first.name not in sold)


def test_adapters_are_on_the_owners_lists_too(world: Any, lists: Any) -> None:
    fox = world.models[0]
    assert [one.digest for one in world.offers.current().doc.adapters] == [LORA]
    world.restart(models=lists((), ("lora",)))
    assert world.offers.current().doc.adapters == ()
    world.restart(models=lists(("fox", LORA.hex()[:12]), ()))
    assert [one.digest for one in world.offers.current().doc.adapters] == [LORA]
    world.restart(models=lists(("owl", "lora"), ()))
    assert world.offers.current().doc.adapters == (), f"it fits {fox.name} alone, which is not sold"


def test_an_offer_with_many_adapters_still_fits_a_document(world: Any) -> None:
    digests = [hashlib.sha256(bytes([n])).digest() for n in range(200)]
    world.models = [Model(digest, "m" * 40, "StableDiffusionPipeline", "l" * 40) for digest in digests]
    world.adapters = [AdapterOffer(digest, "a" * 128, "l" * 128, tuple(digests)) for digest in digests]
    offer = world.offers.current()
    assert 1 <= len(offer.doc.adapters) < 200
    assert len(offer.envelope.payload) <= limits.PAYLOAD_MAX


@pytest.mark.parametrize(
    ("allow", "refuse", "sold"),
    [
        (("licence:mit",), (), ["fox"]),
        (("licence: MIT ",), (), ["fox"]),
        ((), ("licence:mit",), ["owl"]),
        ((), ("licence:mi",), ["fox", "owl"]),
        (("licence:unknown",), (), ["owl"]),
        ((), ("licence:unknown",), ["fox"]),
        (("licence:mit", "owl"), ("licence:unknown",), ["fox"]),
        (("licence:mit",), ("fox",), []),
    ],
)
def test_lists_by_licence(world: Any, lists: Any, allow: Any, refuse: Any, sold: list[str]) -> None:
    world.models = [replace(one, licence=licence) for one, licence in zip(world.models, ("mit", ""), strict=True)]
    world.restart(models=lists(allow, refuse))
    assert [model.name for model in world.stock.models()] == sold


def test_an_adapters_licence_is_looked_at_too(world: Any, lists: Any) -> None:
    world.restart(models=lists((), ("licence:mit",)))
    world.adapters = [replace(one, licence="MIT") for one in world.adapters]
    assert world.offers.current().doc.adapters == ()


def test_a_few_digits_mean_no_model(world: Any, lists: Any) -> None:
    world.restart(models=lists((), (world.models[1].digest.hex()[:5],)))
    assert [model.name for model in world.stock.models()] == ["fox", "owl"]


def test_models_by_digest(world: Any, lists: Any) -> None:
    world.restart(models=lists((world.models[1].digest.hex()[:8].upper(),), ()))
    assert [model.name for model in world.stock.models()] == ["owl"]


# --- the offer tells -------------------------------------------------------------------------------------------------


def test_an_offer_stays_until_something_changes(world: Any) -> None:
    first = world.offers.current()
    world.now += 1
    assert world.offers.current() is first
    changes = [
        lambda: setattr(world, "warm_models", frozenset({world.models[0].digest})),
        lambda: setattr(world, "models", world.models[:1]),
        lambda: setattr(world, "waiting", 8),
        lambda: setattr(world.gate, "paused", True),
        lambda: setattr(world, "profiles", frozenset({bytes(32)})),
    ]
    sequences = [first.doc.sequence]
    for change in changes:
        change()
        sequences.append(world.offers.current().doc.sequence)
        assert world.offers.current() is world.offers.current()
    assert sequences == sorted(set(sequences))


def test_states_and_prices_in_the_offer(world: Any) -> None:
    world.warm_models = frozenset({world.models[0].digest})
    fox, owl = world.offers.current().doc.models
    assert (fox.state, owl.state) == (ModelState.WARM, ModelState.CACHED)
    assert fox.sheet.per_cold_load == 30, "what a cold load would cost stays on the sheet; the frozen one drops it"
    warm = world.bid().doc.sheet
    assert warm.per_cold_load == 0


def test_it_is_renewed_long_before_it_expires(world: Any) -> None:
    first = world.offers.current()
    world.now += RENEW_AFTER_MS
    second = world.offers.current()
    assert second.doc.sequence > first.doc.sequence
    assert second.doc.record != first.doc.record, "the record is renewed first"
    assert first.doc.head.expires_at_ms - world.now >= limits.BROADCAST_TTL_MS // 2


def test_sequences_grow_across_restarts_and_a_clock_set_back(world: Any) -> None:
    seen = [world.offers.current().doc.sequence]
    for back in (0, 1, limits.HOUR):
        world.now -= back
        world.restart()
        seen.append(world.offers.current().doc.sequence)
        assert world.offers.current().doc.head.issued_at_ms == world.now
    assert seen == sorted(set(seen))


def test_a_job_that_would_not_fit_is_declined_with_what_it_needs(world: Any) -> None:
    """A model of 900 MiB in fp32, in a worker that has 2048 MiB less what its libraries take."""
    print_of = {world.models[0].digest: Footprint(200 * limits.MIB, 25 * limits.MIB, 8000, 900, 8, 512)}
    world.footprints = print_of
    world.restart(workers=WorkersConfig(memory_mib=2048))
    assert world.stock.room_bytes == 2048 * limits.MIB - limits.WORKER_BASE_BYTES
    assert world.stock.admit(header(world, width=128, height=128), 0) == ()
    [short] = world.stock.admit(header(world, width=1024, height=1024), 0)
    assert short.code is ReasonCode.MEMORY_SHORT
    picture = 64 * limits.MIB + 1024 * 1024 * (900 + 9) * 4 * 3 // 2
    assert (short.wanted, short.limit, short.unit) == (900 * limits.MIB + picture, world.stock.room_bytes, "bytes")
    world.restart(workers=WorkersConfig(memory_mib=8192))
    assert world.stock.admit(header(world, width=1024, height=1024), 0) == ()


def test_a_gpu_s_own_memory_counts_where_one_is_sold(world: Any) -> None:
    world.footprints = {world.models[0].digest: Footprint(2_000 * limits.MIB, 25 * limits.MIB, 8000, 900, 8, 512)}
    assert world.stock.admit(header(world), 0)[0].code is ReasonCode.MEMORY_SHORT
    world.stock.gpus = (Gpu("big", 80 * 10**9, 1), Gpu("small", 24 * 10**9, 1))
    assert world.stock.room_bytes == 24 * 10**9 - limits.WORKER_BASE_BYTES
    assert world.stock.admit(header(world), 0) == ()


def test_how_long_a_job_takes_is_foretold_from_what_was_measured(world: Any) -> None:
    model = world.models[0].digest
    spec = header(world).spec
    assert world.stock.lasts_ms(spec) == 0, "it was not measured"
    world.speeds = {model: Speed(step_megapixel_us=100_000, load_us=3_000_000)}
    # 20 guided steps of 512 x 512: 10.5 step-megapixels.
    assert world.stock.lasts_ms(spec) == 1_048 + 3_000
    world.warm_models = frozenset({model})
    assert world.stock.lasts_ms(spec) == 1_048
