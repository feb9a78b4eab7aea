"""What is on sale, what is let in, and how the offer tells."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpufair.protocol import limits
from gpufair.protocol.messages import (
    Adapter,
    JobHeader,
    ModelState,
    Precision,
    ReasonCode,
    Scheduler,
    Spec,
    Task,
)
from gpufair.provider.sales.offers import RENEW_AFTER_MS


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


@pytest.mark.parametrize(
    ("change", "code", "wanted", "limit"),
    [
        ({"width": 1024, "height": 1032}, ReasonCode.SIZE_TOO_LARGE, 1024 * 1032, 1024 * 1024),
        ({"steps": 101}, ReasonCode.STEPS_TOO_MANY, 101, 100),
        ({"steps": 0}, ReasonCode.STEPS_TOO_MANY, 0, 100),
        ({"count": 17}, ReasonCode.COUNT_TOO_LARGE, 17, 16),
        ({"model": bytes(32)}, ReasonCode.MODEL_REFUSED, 0, 0),
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
    assert (ReasonCode.MODEL_REFUSED in refused) == (first.name not in sold)


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
