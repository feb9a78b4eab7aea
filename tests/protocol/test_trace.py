"""The Merkle tree over latents: the shape of RFC 6962, proofs that prove, and none that lie."""

from __future__ import annotations

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import trace

LEAVES = st.integers(1, 70).map(lambda n: [trace.leaf(i, struct.pack("<f", i)) for i in range(n)])


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def test_a_leaf_is_what_the_design_says() -> None:
    latents = struct.pack("<2f", 1.0, -2.0)
    assert trace.leaf(3, latents) == sha(b"\x00\x00\x00\x00\x03" + bytes.fromhex("0000803f000000c0"))


def test_trees_of_one_to_seven_leaves_have_the_shape_of_rfc_6962() -> None:
    a, b, c, d, e, f, g = (trace.leaf(i, b"\x00\x00\x00\x00") for i in range(7))
    n = trace.node
    shapes = [a, n(a, b), n(n(a, b), c), n(n(a, b), n(c, d)), n(n(n(a, b), n(c, d)), e)]
    shapes += [n(n(n(a, b), n(c, d)), n(e, f)), n(n(n(a, b), n(c, d)), n(n(e, f), g))]
    assert [trace.root([a, b, c, d, e, f, g][: i + 1]) for i in range(7)] == shapes
    assert n(a, b) == sha(b"\x01" + a + b)


@given(LEAVES, st.data())
def test_every_leaf_can_be_proved_and_nothing_else(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, path = trace.root(leaves), trace.proof(leaves, index)
    assert trace.verify(root, len(leaves), index, leaves[index], path)
    other = data.draw(st.integers(0, len(leaves) - 1))
    assert trace.verify(root, len(leaves), other, leaves[index], path) is (other == index)
    assert not trace.verify(root, len(leaves), index, trace.leaf(999, b"\0\0\0\0"), path)
    assert not trace.verify(root, len(leaves), index, leaves[index], [*path, root])
    assert not trace.verify(root, len(leaves), len(leaves), leaves[index], path)
    assert not trace.verify(root, len(leaves), -1, leaves[index], path)
    if path:
        assert not trace.verify(root, len(leaves), index, leaves[index], path[1:])
        flipped = bytes([path[0][0] ^ 1]) + path[0][1:]
        assert not trace.verify(root, len(leaves), index, leaves[index], [flipped, *path[1:]])


@given(st.binary(max_size=40), st.integers(-2, 2**70), st.integers(-2, 2**70), st.lists(st.binary(max_size=40)))
def test_verify_never_raises(digest: bytes, count: int, index: int, path: list[bytes]) -> None:
    assert trace.verify(digest, count, index, digest, path) in (True, False)


@given(LEAVES, st.data())
def test_a_changed_swapped_or_dropped_leaf_changes_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    changed = [*leaves[:index], trace.leaf(index, b"\x01\0\0\0"), *leaves[index + 1 :]]
    roots = {trace.root(leaves), trace.root(changed)}
    if len(leaves) > 1:
        roots |= {trace.root(leaves[:-1]), trace.root(leaves[::-1])}
    assert len(roots) == (4 if len(leaves) > 1 else 2)


def test_a_node_is_never_a_leaf() -> None:
    a, b = trace.leaf(0, b"\0\0\0\0"), trace.leaf(1, b"\0\0\0\0")
    assert trace.root([a, b]) != trace.leaf(0, a + b)


@pytest.mark.parametrize("latents", [b"", b"123", b"12345"])
def test_latents_that_are_no_floats_are_refused(latents: bytes) -> None:
    with pytest.raises(ValueError, match="floats"):
        trace.leaf(0, latents)


def test_no_leaves_and_bad_leaves_are_refused() -> None:
    for bad in ([], [b"short"], [b"x" * 32, b""]):
        with pytest.raises(ValueError, match=r"leaf|digest"):
            trace.root(bad)
    with pytest.raises(ValueError, match="no leaf"):
        trace.proof([b"x" * 32], 1)
