"""The worker codec: any split decodes the same, nothing but PeerError ever comes out of bad bytes, credit holds."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufair.protocol import frames
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.frame_bounds import Between, Items, Length
from gpufair.protocol.frame_fields import PLANS
from gpufair.protocol.frames import Credit, Frame, FrameDecoder, FrameLink
from gpufair.protocol.limits import FRAME_CREDIT, FRAME_MAX, OUTPUT_CHUNK, OUTPUT_MAX, PROMPT_MAX

ATTEMPT, DIGEST = b"a" * 16, b"d" * 32


def values(bounds: tuple[object, ...], kind: type) -> st.SearchStrategy[Any]:
    """Values of a plain field within its bounds."""
    for bound in bounds:
        match bound:
            case Between(low, high):
                return st.integers(low, high)
            case Length(low, high) if kind is bytes:
                return st.binary(min_size=low, max_size=min(high, 300))
            case Length(low, high):
                return st.text(min_size=low, max_size=min(high, 120) // 4)
    return st.booleans() if kind is bool else st.sampled_from(list(kind))  # or an enum


def built(kind: type) -> st.SearchStrategy[Any]:
    """Frames of one type, within bounds, from the same plans that the codec follows."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for plan in PLANS[kind]:
        one = built(plan.kind) if plan.part else values(plan.item_bounds if plan.many else plan.bounds, plan.kind)
        if plan.many:
            high = next(bound.high for bound in plan.bounds if isinstance(bound, Items))
            one = st.lists(one, max_size=high).map(tuple)
        fields[plan.name] = one
    return st.builds(kind, **fields)


FRAMES: st.SearchStrategy[Any] = st.one_of([built(kind) for kind in get_args(Frame)])
RUN = frames.Run(ATTEMPT, DIGEST, "a fox", 7, 20, 3000, 64, 64)
STEP = frames.Step(ATTEMPT, 0, 1, DIGEST)


@given(st.lists(FRAMES, max_size=6), st.data())
def test_any_split_of_the_bytes_decodes_the_same(sent: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(frames.encode(frame) for frame in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder, got = FrameDecoder(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += decoder.feed(stream[start:end])
    decoder.eof()
    assert got == sent


@given(st.lists(FRAMES, min_size=1, max_size=3), st.data())
@settings(max_examples=300)
def test_flipped_bits_raise_nothing_but_a_peer_error(sent: list[Frame], data: st.DataObject) -> None:
    stream = bytearray(b"".join(frames.encode(frame) for frame in sent))
    for _ in range(data.draw(st.integers(1, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    link = FrameLink.of_node()
    with contextlib.suppress(PeerError):
        for frame in link.feed(bytes(stream)):
            frames.encode(frame)  # whatever passes is a frame that could have been sent


@given(st.binary(max_size=400))
@settings(max_examples=300)
def test_garbage_raises_nothing_but_a_peer_error(data: bytes) -> None:
    with contextlib.suppress(PeerError):
        FrameDecoder().feed(data)


def test_an_oversized_frame_is_refused_from_its_prefix_alone() -> None:
    decoder = FrameDecoder()
    with pytest.raises(PeerError) as caught:
        decoder.feed((FRAME_MAX - 3).to_bytes(4, "big"))
    assert caught.value.fault is Fault.TOO_LARGE
    with pytest.raises(PeerError):  # and the stream stays refused
        decoder.feed(frames.encode(STEP))


@pytest.mark.parametrize(
    ("payload", "fault"),
    [
        (b"", Fault.UNKNOWN),  # no kind at all
        (b"\xf2\x7f\x00", Fault.UNKNOWN),  # a kind of a later version
        (b"\x0a\x05\x08", Fault.MALFORMED),  # cut short inside
        (b"\x22\x00", Fault.MALFORMED),  # a Cancel without an attempt
        (b"\x1a\x04\x22\x02\xff\xfe", Fault.MALFORMED),  # a Run whose prompt is not UTF-8
        (b"\x32\x00", Fault.MALFORMED),  # a Credit of nothing
    ],
)
def test_what_is_no_frame_is_refused(payload: bytes, fault: Fault) -> None:
    with pytest.raises(PeerError) as caught:
        frames.decode(payload)
    assert caught.value.fault is fault


def test_a_fail_code_that_nobody_knows_is_refused() -> None:
    good = frames.encode(frames.Failed(ATTEMPT, frames.FailCode.INTERNAL, ""))
    assert good[-1] == frames.FailCode.INTERNAL
    with pytest.raises(PeerError):
        frames.decode(good[4:-1] + b"\x63")


@pytest.mark.parametrize(
    "frame",
    [
        dataclasses.replace(RUN, attempt=b"short"),
        dataclasses.replace(RUN, seed=-1),
        dataclasses.replace(RUN, seed=2**64),
        dataclasses.replace(RUN, prompt="x" * (PROMPT_MAX + 1)),
        dataclasses.replace(RUN, prompt="é" * (PROMPT_MAX // 2 + 1)),  # the bound is bytes, not characters
        dataclasses.replace(RUN, prompt="\ud800"),
        dataclasses.replace(RUN, adapters=(frames.Adapter(DIGEST, 1),) * 9),
        dataclasses.replace(RUN, adapters=(frames.Adapter(b"", 1),)),
        frames.OutputChunk(ATTEMPT, 0, 0, OUTPUT_MAX + 1, b"x"),
        frames.OutputChunk(ATTEMPT, 0, 0, 5, b""),
        Credit(FRAME_CREDIT + 1),
    ],
)
def test_a_frame_of_ours_out_of_bounds_is_not_sent(frame: Frame) -> None:
    link = FrameLink.of_node()
    with pytest.raises(LocalError):
        link.send(frame)
    assert link.outgoing() == b""


def test_the_largest_frames_fit() -> None:
    full = dataclasses.replace(
        RUN, prompt="x" * PROMPT_MAX, negative_prompt="y" * PROMPT_MAX, adapters=(frames.Adapter(DIGEST, -1),) * 8
    )
    chunk = frames.OutputChunk(ATTEMPT, 2**32 - 1, 2**32 - 1, OUTPUT_MAX, b"z" * OUTPUT_CHUNK)
    for frame in (full, chunk):
        data = frames.encode(frame)
        assert len(data) <= FRAME_MAX
        assert frames.decode(data[4:]) == frame


def test_a_stream_that_ends_inside_a_frame_is_noticed() -> None:
    decoder = FrameDecoder()
    decoder.feed(frames.encode(STEP)[:-1])
    with pytest.raises(PeerError):
        decoder.eof()


def test_frames_from_the_wrong_side_are_refused() -> None:
    with pytest.raises(PeerError) as caught:
        FrameLink.of_worker().feed(frames.encode(STEP))
    assert caught.value.fault is Fault.WRONG_TYPE
    with pytest.raises(PeerError):
        FrameLink.of_node().feed(frames.encode(RUN))


@given(
    st.lists(st.integers(1, OUTPUT_CHUNK), min_size=1, max_size=60),
    # Drawn once and gone round: a draw for each piece would let one example run for minutes.
    st.lists(st.tuples(st.integers(500, 40_000), st.booleans()), min_size=1, max_size=40),
)
@settings(max_examples=60)
def test_all_arrives_in_order_and_the_pipe_never_holds_64_kib(sizes: list[int], moods: list[tuple[int, bool]]) -> None:
    node, worker = FrameLink.of_node(), FrameLink.of_worker()
    sent = [frames.OutputChunk(ATTEMPT, i, 0, OUTPUT_MAX, b"x" * size) for i, size in enumerate(sizes)]
    for frame in sent:
        worker.send(frame)
    pipe, unhandled, got, turns = bytearray(), 0, [], itertools.cycle(moods)
    while len(got) < len(sent) or unhandled:
        pipe += worker.outgoing()
        assert len(pipe) < 64 * 1024
        taken, is_ready = next(turns)
        arrived = node.feed(bytes(pipe[:taken]))
        del pipe[:taken]
        got += arrived
        unhandled += len(arrived)
        if unhandled and (not pipe or is_ready):
            node.consumed(unhandled)
            unhandled = 0
        assert worker.feed(node.outgoing()) == []
    assert got == sent
    assert worker.waiting == 0


def test_a_peer_that_sends_beyond_its_credit_is_refused() -> None:
    chunk = frames.encode(frames.OutputChunk(ATTEMPT, 0, 0, OUTPUT_MAX, b"x" * OUTPUT_CHUNK))
    link = FrameLink.of_node()
    link.feed(chunk)
    with pytest.raises(PeerError) as caught:
        link.feed(chunk)
    assert caught.value.fault is Fault.LIMIT


def test_a_peer_that_gives_back_more_than_it_got_is_refused() -> None:
    link = FrameLink.of_node()
    link.send(frames.Stop())
    size = len(link.outgoing())
    link.feed(frames.encode(Credit(size)))
    with pytest.raises(PeerError):
        link.feed(frames.encode(Credit(1)))


def test_a_profile_digest_depends_on_every_field_and_on_no_order_of_flags() -> None:
    profile = frames.RuntimeProfile("3.11", "2.13", "0.42", "5.23", "0.1", "cpu", "x", "float32", ("b", "a"))
    assert profile.digest() == dataclasses.replace(profile, flags=("a", "b")).digest()
    changed = [
        dataclasses.replace(profile, **{field.name: "other"})
        for field in dataclasses.fields(profile)
        if field.name != "flags"
    ]
    changed += [dataclasses.replace(profile, flags=("a",)), dataclasses.replace(profile, python="3.112.13", torch="")]
    assert len({profile.digest(), *(other.digest() for other in changed)}) == len(changed) + 1
