"""LoRAs: what they change is what one would have merged by hand, and nothing of it stays behind."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import lora
import numpy as np
import pytest
import torch
from PIL import Image

from gpufair.protocol import frames
from gpufair.protocol.adapters import METADATA
from gpufair.protocol.frames import ADAPTER, Adapter, Done, FailCode, Failed, Load, Loaded, LoadFailed
from gpufair.provider.inference import adapters, rows, weights
from gpufair.provider.inference.adapters import Adapters
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.words import Words

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def pipeline(demo: Any) -> Any:
    torch.set_num_threads(1)
    return weights.load(Path(demo.path), demo.digest, CPU)[0]


@pytest.fixture(autouse=True)
def untouched(pipeline: Any) -> Iterator[None]:
    """The model's tensors are the same objects, with the same bits, after every test."""
    parameters = [*pipeline.unet.parameters(), *pipeline.text_encoder.parameters()]
    before = [(parameter.data_ptr(), parameter.detach().clone()) for parameter in parameters]
    yield
    for parameter, (where, bits) in zip(parameters, before, strict=True):
        assert parameter.data_ptr() == where
        assert torch.equal(parameter, bits)


@pytest.fixture
def held() -> Adapters:
    return Adapters()


def put(held: Adapters, folder: Path, tensors: dict[str, torch.Tensor], metadata: Any = None) -> bytes:
    digest = lora.write(folder, tensors, metadata)
    held.load(folder, digest)
    return digest


def wish(demo: Any, *pairs: tuple[bytes, int], **changes: Any) -> frames.Run:
    return replace(demo.run(**changes), adapters=tuple(Adapter(digest, milli) for digest, milli in pairs))


def by_hand(pipeline: Any, *terms: tuple[lora.Change, float]) -> dict[str, torch.Tensor]:
    """Each changed weight, merged as a textbook would."""
    merged: dict[str, torch.Tensor] = {}
    for change, factor in terms:
        for place, (up, down) in change.items():
            own = lora.weight(pipeline, place).detach()
            moved = factor * torch.einsum("or,r...->o...", up.flatten(1), down.flatten(1)).view_as(own)
            merged[place] = merged.get(place, own.clone()) + moved
    return merged


def latents(pipeline: Any, run: frames.Run, patch: adapters.Patch) -> torch.Tensor:
    with torch.no_grad(), patch:
        row = rows.begin(pipeline, run, 0, Words(CPU).of(pipeline, run), CPU)
        while not row.is_done:
            rows.advance(pipeline.unet, [row])
    return row.latents


@pytest.mark.parametrize("form", [lora.peft, lora.kohya, lora.old])
def test_every_form_is_what_one_merges_by_hand(
    pipeline: Any, demo: Any, held: Adapters, tmp_path: Path, form: Any
) -> None:
    change = lora.dice(pipeline, text=True)
    merged = by_hand(pipeline, (change, 0.7))
    patch = held.patch(pipeline, wish(demo, (put(held, tmp_path / "a", form(change)), 700)))
    assert patch.reading
    with patch:
        for place, wanted in merged.items():
            assert torch.allclose(lora.weight(pipeline, place), wanted, rtol=0, atol=1e-6), place


def test_pictures_are_those_of_the_merged_model(pipeline: Any, demo: Any, held: Adapters, tmp_path: Path) -> None:
    change = lora.dice(pipeline, text=True)
    run = wish(demo, (put(held, tmp_path / "a", lora.peft(change)), 1000))
    ours = latents(pipeline, run, held.patch(pipeline, run))
    merged = weights.load(Path(demo.path), demo.digest, CPU)[0]
    for place, weight in by_hand(merged, (change, 1.0)).items():
        lora.weight(merged, place).data.copy_(weight)
    theirs = latents(merged, run, adapters.Patch())
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-5)
    assert not torch.allclose(ours, latents(pipeline, run, adapters.Patch()), rtol=0, atol=1e-2)


def test_alpha_is_told_by_kohya_in_the_file_and_by_peft_in_its_header(
    pipeline: Any, demo: Any, held: Adapters, tmp_path: Path
) -> None:
    change = lora.dice(pipeline, rank=4)
    header = {METADATA: json.dumps({"unet.r": 4, "unet.lora_alpha": 2, "unet.use_dora": False})}
    written = [(lora.kohya(change, alpha=2.0), None), (lora.peft(change), header)]
    for number, (tensors, metadata) in enumerate(written):
        digest = put(held, tmp_path / str(number), tensors, metadata)
        merged = by_hand(pipeline, (change, 0.5))
        with held.patch(pipeline, wish(demo, (digest, 1000))):
            for place, weight in merged.items():
                assert torch.allclose(lora.weight(pipeline, place), weight, rtol=0, atol=1e-6)


def test_two_add_whatever_their_order(pipeline: Any, demo: Any, held: Adapters, tmp_path: Path) -> None:
    one, two = lora.dice(pipeline, 1), lora.dice(pipeline, 2, rank=5, text=True)
    first, second = put(held, tmp_path / "1", lora.kohya(one)), put(held, tmp_path / "2", lora.peft(two))
    run = wish(demo, (first, 300), (second, -1200))
    merged = by_hand(pipeline, (one, 0.3), (two, -1.2))
    with held.patch(pipeline, run):
        for place, weight in merged.items():
            assert torch.allclose(lora.weight(pipeline, place), weight, rtol=0, atol=1e-6)
    turned = replace(run, adapters=run.adapters[::-1])
    assert torch.equal(
        latents(pipeline, run, held.patch(pipeline, run)), latents(pipeline, turned, held.patch(pipeline, turned))
    )
    halves = wish(demo, (first, 100), (second, -1200), (first, 200))
    assert held.patch(pipeline, halves) is held.patch(pipeline, run), "named twice, the weights add up"


def test_a_weight_of_nothing_is_no_adapter(pipeline: Any, demo: Any, held: Adapters, tmp_path: Path) -> None:
    digest = put(held, tmp_path / "a", lora.peft(lora.dice(pipeline)))
    run = wish(demo, (digest, 0))
    plain = latents(pipeline, demo.run(), adapters.Patch())
    assert torch.equal(latents(pipeline, run, held.patch(pipeline, run)), plain)


def test_half_precision_rounds_once(pipeline: Any, demo: Any, held: Adapters, tmp_path: Path) -> None:
    half = weights.load(Path(demo.path), demo.digest, CPU, torch.bfloat16)[0]
    change = lora.dice(half)
    merged = {}
    for place, (up, down) in change.items():
        own = lora.weight(half, place).detach().float()
        merged[place] = (own + (up.flatten(1) @ down.flatten(1)).view_as(own)).bfloat16()
    with held.patch(half, wish(demo, (put(held, tmp_path / "a", lora.peft(change)), 1000))):
        for place, weight in merged.items():
            assert lora.weight(half, place).dtype is torch.bfloat16
            assert torch.equal(lora.weight(half, place), weight)


def test_an_error_inside_leaves_the_model_as_it_was(pipeline: Any, demo: Any, held: Adapters, tmp_path: Path) -> None:
    patch = held.patch(pipeline, wish(demo, (put(held, tmp_path / "a", lora.peft(lora.dice(pipeline))), 1000)))
    with pytest.raises(ZeroDivisionError), patch:
        raise ZeroDivisionError


def refused(act: Any) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        act()
    return caught.value


def test_one_for_another_kind_of_model_is_refused_with_names_and_numbers(
    pipeline: Any, demo: Any, held: Adapters, tmp_path: Path
) -> None:
    change = lora.dice(pipeline)
    elsewhere = change | {"unet:add_embedding.linear_1": change[f"unet:{lora.ATTENTION}.to_q"]}
    run = wish(demo, (put(held, tmp_path / "family", lora.peft(elsewhere)), 1000))
    error = refused(lambda: held.patch(pipeline, run))
    assert error.code is FailCode.MODEL_BAD
    assert "1 of the 5 weights" in error.message
    assert "unet.add_embedding_linear_1" in error.message

    up, down = change[f"unet:{lora.ATTENTION}.to_q"]
    wide = change | {f"unet:{lora.ATTENTION}.to_q": (torch.cat([up, up]), down)}
    run = wish(demo, (put(held, tmp_path / "shape", lora.peft(wide)), 1000))
    error = refused(lambda: held.patch(pipeline, run))
    own = tuple(lora.weight(pipeline, f"unet:{lora.ATTENTION}.to_q").shape)
    assert error.code is FailCode.MODEL_BAD
    assert f"{(own[0] * 2, own[1])}, this model's is {own}" in error.message


def test_what_is_no_lora_that_we_know_is_refused_when_it_is_loaded(
    pipeline: Any, held: Adapters, tmp_path: Path
) -> None:
    change = lora.dice(pipeline)
    named, place = lora.peft(change), f"unet.{lora.ATTENTION}.to_q"
    dora = json.dumps({"unet.use_dora": True})
    bad = json.dumps({"unet.lora_alpha": "much"})
    wrong: list[tuple[str, dict[str, torch.Tensor], dict[str, str] | None]] = [
        ("magnitude", named | {f"{place}.lora_magnitude_vector.weight": torch.ones(3)}, None),
        ("other half", {name: tensor for name, tensor in named.items() if name != f"{place}.lora_B.weight"}, None),
        ("multiplied", named | {f"{place}.lora_A.weight": torch.zeros(7, 5)}, None),
        ("use_dora", named, {METADATA: dora}),
        ("lora_alpha", named, {METADATA: bad}),
        ("no JSON", named, {METADATA: "{"}),
    ]
    for said, tensors, metadata in wrong:
        error = refused(lambda said=said, t=tensors, m=metadata: put(held, tmp_path / said, t, m))
        assert error.code is FailCode.MODEL_BAD
        assert said in error.message
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "adapter.safetensors").write_bytes(b"nothing of the kind")
    digest = lora.digest_of(tmp_path / "text")
    assert refused(lambda: held.load(tmp_path / "text", digest)).code is FailCode.MODEL_BAD
    assert refused(lambda: held.load(tmp_path / "text", b"x" * 32)).code is FailCode.MODEL_BAD
    assert refused(lambda: held.load(tmp_path / "absent", digest)).code is FailCode.MODEL_MISSING


def test_one_that_was_dropped_or_never_came_is_missing(pipeline: Any, demo: Any, tmp_path: Path) -> None:
    small = Adapters(files=1)
    first = put(small, tmp_path / "1", lora.peft(lora.dice(pipeline, 1)))
    second = put(small, tmp_path / "2", lora.peft(lora.dice(pipeline, 2)))
    assert small.holds(first) is None
    assert small.holds(second)
    error = refused(lambda: small.patch(pipeline, wish(demo, (first, 1000))))
    assert error.code is FailCode.MODEL_MISSING
    assert first.hex() in error.message


def test_patched_weights_are_remembered_within_a_bound(pipeline: Any, demo: Any, tmp_path: Path) -> None:
    roomy = Adapters()
    digest = put(roomy, tmp_path / "1", lora.peft(lora.dice(pipeline, 1)))
    run, other = wish(demo, (digest, 1000)), wish(demo, (digest, 500))
    patch = roomy.patch(pipeline, run)
    assert roomy.patch(pipeline, replace(run, seed=9)) is patch
    again = weights.load(Path(demo.path), demo.digest, CPU)[0]
    assert roomy.patch(again, run) is not patch, "the same model loaded anew has other tensors"
    tight = Adapters(patches=patch.size)
    put(tight, tmp_path / "2", lora.peft(lora.dice(pipeline, 1)))
    first = tight.patch(pipeline, run)
    assert tight.patch(pipeline, run) is first
    tight.patch(pipeline, other)
    assert tight.patch(pipeline, run) is not first
    assert [tight.forget(), tight.forget()] == [True, False], "nothing is left to make room with"


@torch.no_grad()
def test_words_are_remembered_for_each_set_that_reads_them_differently(
    pipeline: Any, demo: Any, held: Adapters, tmp_path: Path
) -> None:
    reads = put(held, tmp_path / "text", lora.peft(lora.dice(pipeline, 1, text=True)))
    draws = put(held, tmp_path / "unet", lora.peft(lora.dice(pipeline, 2)))
    words = Words(CPU)

    def of(run: frames.Run) -> torch.Tensor:
        patch = held.patch(pipeline, run)
        with patch:
            return words.of(pipeline, run, patch.reading)

    plain, differently = of(demo.run()), of(wish(demo, (reads, 1000)))
    assert not torch.allclose(plain, differently)
    assert torch.equal(of(demo.run()), plain)
    assert torch.equal(of(wish(demo, (reads, 1000))), differently)
    assert torch.equal(of(wish(demo, (draws, 1000))), plain)


@pytest.fixture
def ready(pipeline: Any, warm: Any, tmp_path: Path) -> tuple[Any, bytes]:
    """The shared worker with an adapter in memory, and that one's digest."""
    digest = lora.write(tmp_path / "given", lora.peft(lora.dice(pipeline, text=True)))
    warm.send(Load(digest, str(tmp_path / "given"), ADAPTER))
    assert isinstance(warm.until(Loaded, LoadFailed)[-1], Loaded)
    return warm, digest


def test_a_worker_draws_with_it_and_jobs_before_and_after_keep_their_bits(ready: Any, demo: Any, pictures: Any) -> None:
    worker, digest = ready
    run = demo.run(seed=3)
    before = pictures(worker.run(run))
    with_it = pictures(worker.run(wish(demo, (digest, 1000), seed=3)))
    at_nothing = pictures(worker.run(wish(demo, (digest, 0), seed=3)))
    after = pictures(worker.run(demo.run(seed=3)))
    assert before.png == after.png == at_nothing.png
    assert before.leaves == after.leaves == at_nothing.leaves
    assert with_it.leaves[0][0] == before.leaves[0][0], "the noise is the seed's"
    assert with_it.leaves[0][1:] != before.leaves[0][1:]


def test_beside_others_each_has_its_own_weights(ready: Any, demo: Any, pictures: Any) -> None:
    """With, without and with other weight at once: no one's step is computed with another's weights."""
    worker, digest = ready
    pairs = [(digest, 1000), (digest, 400), (digest, 1000)]
    runs = [wish(demo, pair, seed=n, precision="single") for n, pair in enumerate(pairs)]
    runs.append(demo.run(seed=9, precision="single"))
    for run in runs:
        worker.send(run)
    got = [frame for _ in runs for frame in worker.until(Done, Failed)]
    for run in runs:
        together = pictures([frame for frame in got if getattr(frame, "attempt", None) == run.attempt])
        alone = pictures(worker.run(replace(run, attempt=run.attempt[::-1])))
        difference = np.abs(pixels(together.png[0]) - pixels(alone.png[0]))
        assert difference.max() <= 1


def test_a_worker_refuses_what_it_has_not_or_what_does_not_fit(
    pipeline: Any, warm: Any, demo: Any, tmp_path: Path
) -> None:
    failed = warm.run(wish(demo, (b"x" * 32, 1000)))[-1]
    assert (type(failed), failed.code) == (Failed, FailCode.MODEL_MISSING)
    change = lora.dice(pipeline)
    change["unet:add_embedding.linear_1"] = change[f"unet:{lora.ATTENTION}.to_q"]
    digest = lora.write(tmp_path / "sdxl", lora.kohya(change))
    warm.send(Load(digest, str(tmp_path / "sdxl"), ADAPTER))
    assert isinstance(warm.until(Loaded, LoadFailed)[-1], Loaded)
    failed = warm.run(wish(demo, (digest, 1000)))[-1]
    assert (type(failed), failed.code) == (Failed, FailCode.MODEL_BAD)
    assert "add_embedding" in failed.message
    warm.send(Load(digest, str(tmp_path), ADAPTER))
    assert isinstance(warm.until(Loaded, LoadFailed)[-1], Loaded), "it is here already"


def pixels(png: bytes) -> Any:
    return np.asarray(Image.open(io.BytesIO(png))).astype(int)
