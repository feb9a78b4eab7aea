"""The Merkle tree over a picture's states. Rule: the same steps always give the same root, and any one can be proved.

A leaf is SHA-256(0x00 ‖ u32 step, big-endian ‖ state). A state is all that the next step reads: the latents, then what
the scheduler carries on, as 32-bit little-endian floats in NCHW order (ADR 13). Step 0 is what the picture begins from.
A node is SHA-256(0x01 ‖ left ‖ right). A tree of n > 1 leaves splits as in RFC 6962: the left part has the largest
power of two smaller than n leaves, so no leaf is ever repeated and an odd one simply stands higher. The tree of one
leaf is that leaf. There is no tree of none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

DIGEST_BYTES = 32


def leaf(step: int, state: bytes) -> bytes:
    """The leaf of step `step` (0 to 2**32 - 1) for a state already in wire form: fp32, little-endian, NCHW."""
    if not state or len(state) % 4:
        raise ValueError(f"a state is whole 32-bit floats, not {len(state)} bytes")
    whole = hasher(step)
    whole.update(state)
    return whole.digest()


def hasher(step: int) -> hashlib._Hash:
    """The leaf of step `step` in the making, for who gets the state in pieces: to be fed them all in order."""
    return hashlib.sha256(b"\x00" + step.to_bytes(4, "big"))


def node(left: bytes, right: bytes) -> bytes:
    """The parent of two digests."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaves in step order. `ValueError` for none, or for one that is no 32-byte digest."""
    _check(leaves)
    return _root(leaves)


def split(joined: bytes) -> list[bytes]:
    """Digests that were put one after another."""
    return [joined[at : at + DIGEST_BYTES] for at in range(0, len(joined), DIGEST_BYTES)]


def proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The digests that lead from leaf `index` to the root, nearest first. `ValueError` for an index out of range."""
    _check(leaves)
    if not 0 <= index < len(leaves):
        raise ValueError(f"no leaf {index} among {len(leaves)}")
    path: list[bytes] = []
    while len(leaves) > 1:
        split = _split(len(leaves))
        left, right = leaves[:split], leaves[split:]
        if index < split:
            path.append(_root(right))
            leaves = left
        else:
            path.append(_root(left))
            leaves, index = right, index - split
    return path[::-1]


def verify(tree_root: bytes, leaf_count: int, index: int, leaf_digest: bytes, path: Sequence[bytes]) -> bool:
    """Whether `path` shows that `leaf_digest` is leaf `index` of the tree with this root and number of leaves.

    Never raises for hostile input: whatever can't be a proof is False.
    """
    digests = (tree_root, leaf_digest, *path)
    if not 0 <= index < leaf_count or any(len(digest) != DIGEST_BYTES for digest in digests):
        return False
    turns: list[bool] = []
    while leaf_count > 1:
        split = _split(leaf_count)
        turns.append(index >= split)
        leaf_count, index = (leaf_count - split, index - split) if index >= split else (split, index)
    if len(turns) != len(path):
        return False
    digest = leaf_digest
    for went_right, sibling in zip(reversed(turns), path, strict=True):
        digest = node(sibling, digest) if went_right else node(digest, sibling)
    return digest == tree_root


def _root(leaves: Sequence[bytes]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    split = _split(len(leaves))
    return node(_root(leaves[:split]), _root(leaves[split:]))


def _split(count: int) -> int:
    """The largest power of two smaller than `count`, which is at least 2."""
    return 1 << (count - 1).bit_length() - 1


def _check(leaves: Sequence[bytes]) -> None:
    if not leaves:
        raise ValueError("a trace has at least one leaf")
    if any(len(digest) != DIGEST_BYTES for digest in leaves):
        raise ValueError("a leaf is a 32-byte digest")
