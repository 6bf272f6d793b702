"""Tiles with the same pixels, turned or mirrored ones too: found by digests, then compared.

A copy of a training tile in the test split measures memory. Quarter turns and mirrors count as
copies, as training shows the network a tile in all of them.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
Read = Callable[[Rows], NDArray[Any]]  # rows, rising -> their pixels (n, H, W, C)

STEP = 2**22  # values that are widened at a time
TOGETHER = 256  # tiles that are compared at a time
DROPPED_BITS = np.uint64(24)  # of a digest that is kept


class Copies(NamedTuple):
    """Tiles that have copies: a group's tiles are the same but for turns and mirrors."""

    rows: Rows  # (M,) rising within a group, groups one after the other
    group: Rows  # (M,) 0 to G - 1
    look: Rows  # (M,) tiles of a group that differ in it are turned or mirrored
    uniform: NDArray[np.bool_]  # (M,) one value a band: such tiles are alike without being copies


def digests(pixels: NDArray[Any]) -> NDArray[np.uint64]:
    """A number (N,) a tile of (N, H, W, C), the same for its eight turns and mirrors.

    Sums of values times random weights that have the symmetries of the square, modulo 2^64. Tiles
    with different digests differ; those with the same are to be compared.
    """
    weights = _weights(*pixels.shape[1:])
    plain = np.ascontiguousarray(pixels).view(f"u{pixels.dtype.itemsize}")
    lines = plain.reshape(len(pixels), len(weights))
    step = max(1, STEP // max(1, len(weights)))
    parts = [lines[i : i + step].astype(np.uint64) @ weights for i in range(0, len(lines), step)]
    return np.concatenate([np.empty(0, np.uint64), *parts])


def _weights(height: int, width: int, bands: int) -> NDArray[np.uint64]:
    drawn = np.random.default_rng(0).integers(0, 2**64, (height, width, bands), np.uint64)
    total = np.zeros_like(drawn)
    for variant in symmetries(drawn):
        total += variant
    return total.reshape(-1)


def symmetries(tile: NDArray[Any]) -> list[NDArray[Any]]:
    """The eight turns and mirrors of a square (H, W, C)."""
    turns = [np.rot90(tile, quarter) for quarter in range(4)]
    return turns + [turn[:, ::-1] for turn in turns]


def copies(keys: NDArray[np.uint64], read: Read) -> Copies:
    """Compare the tiles that share a digest.

    Args:
        keys: (N,) of ``digests``.
        read: Gives the pixels of rows 0 to N - 1.
    """
    _, place, counts = np.unique(keys, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(counts[place] > 1)
    plain, kinds, flat = list[bytes](), list[bytes](), list[bool]()
    for start in range(0, len(shared), TOGETHER):
        for tile in read(shared[start : start + TOGETHER]):
            plain.append(_short(tile.tobytes()))
            kinds.append(_short(min(each.tobytes() for each in symmetries(tile))))
            flat.append(bool(uniform(tile[None])[0]))
    groups: dict[bytes, list[int]] = {}
    for i, kind in enumerate(kinds):
        groups.setdefault(kind, []).append(i)
    kept = [members for members in groups.values() if len(members) > 1]
    order = np.array([i for members in kept for i in members], np.int64)
    looks = {content: number for number, content in enumerate(dict.fromkeys(plain))}
    return Copies(
        rows=shared[order],
        group=np.repeat(np.arange(len(kept)), [len(members) for members in kept]),
        look=np.array([looks[plain[i]] for i in order], np.int64),
        uniform=np.array(flat, bool)[order],
    )


def kept(keys: NDArray[np.uint64]) -> str:
    """Digests as text that a bundle can hold: five bytes of each, in order, each once."""
    top = np.unique(keys >> DROPPED_BITS).astype(">u8").view(np.uint8).reshape(-1, 8)
    return b64encode(top[:, 3:].tobytes()).decode()


def among(keys: NDArray[np.uint64], text: str) -> NDArray[np.bool_]:
    """Which of some digests (N,) are among those of ``kept``; of others one in 10^12 / len."""
    parts = np.frombuffer(b64decode(text), np.uint8).reshape(-1, 5)
    whole = np.concatenate([np.zeros((len(parts), 3), np.uint8), parts], axis=1)
    return np.isin(keys >> DROPPED_BITS, whole.reshape(-1).view(">u8").astype(np.uint64))


def uniform(pixels: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of tiles (N, H, W, C) have one value a band."""
    return np.asarray((pixels == pixels[:, :1, :1]).all(axis=(1, 2, 3)))


def _short(content: bytes) -> bytes:
    return blake2b(content, digest_size=16).digest()
