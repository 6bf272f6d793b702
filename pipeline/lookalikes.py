"""Near copies: tiles that show the same ground, moved by a pixel or two, or with a little noise.

Two steps. A *sketch* finds candidates: the signs of the low cosine coefficients of a tile's
centre, over the mean of all bands, one code for each way that the other tile may be moved (a
perceptual hash, after pHash, Zauner 2010). Then the *detail* of both is compared, what is left of
each band without its 5 x 5 mean: it is a fingerprint of the ground, where the coarse look of two
roads is not. Tiles without detail can't be told from one another and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

SHIFT = 2  # pixels that a near copy may be moved by, in each direction
BOX = 5  # side of the mean that detail is measured against
SIDE = 64  # pixels of a tile's centre that are looked at
ORDER = 7  # highest sum of the two frequencies of a sketch
UNSURE, FLIPS = 8, 2  # of the coefficients nearest to 0, so many may have the other sign
MOST = 64  # tiles of one code that are looked at
COSINE = 0.9  # of two sketches, at least
CORRELATION = 0.6  # of two details, at least; those of different ground stay below 0.5
TEXTURE = 0.05  # root of the mean square of a detail, in deviations of the bands, at least
LEAST = 100  # values of the details that are compared; fewer agree by chance

OFFSETS = tuple(product(range(-SHIFT, SHIFT + 1), repeat=2))


@dataclass(frozen=True)
class Sketcher:
    """Makes sketches and details of tiles of one size; bands are weighed by their deviations."""

    size: int
    mean: NDArray[np.float64]  # (C,)
    deviation: NDArray[np.float64]

    @property
    def values(self) -> int:
        """Numbers of a tile."""
        return self.size**2 * len(self.mean)

    @property
    def able(self) -> bool:
        """Whether tiles are large enough to be compared."""
        return (self._side - BOX + 1 - SHIFT) ** 2 * len(self.mean) >= LEAST and self._side > BOX

    def centre(self, pixels: NDArray[Any]) -> Floats:
        """Normalized pixels (N, S, S, C) of the centre."""
        cut = max(0, self.size - SIDE) // 2
        inner = pixels[:, cut : self.size - cut, cut : self.size - cut].astype(np.float32)
        inner -= self.mean.astype(np.float32)
        inner /= np.where(self.deviation > 0, self.deviation, 1).astype(np.float32)
        return inner

    @cached_property
    def _side(self) -> int:
        return self.size - 2 * (max(0, self.size - SIDE) // 2)

    @cached_property
    def _still(self) -> Floats:
        return self._placed([(0, 0)])

    @cached_property
    def _moved(self) -> Floats:
        return self._placed(OFFSETS)

    def _placed(self, offsets: Any) -> Floats:
        """Cosines (S x S, len(offsets) x K) that stand where a tile may be moved to."""
        inner = self._side - 2 * SHIFT
        waves = _cosines(inner)
        out = np.zeros((self._side, self._side, len(offsets), len(waves)), np.float32)
        for i, (down, across) in enumerate(offsets):
            top, left = SHIFT + down, SHIFT + across
            out[top : top + inner, left : left + inner, i] = waves.transpose(1, 2, 0)
        return out.reshape(self._side**2, -1)

    def sketches(self, centre: Floats, *, moved: bool = False) -> Floats:
        """Unit vectors (N, K), or one a move in the order of OFFSETS: (N, M, K)."""
        grey = centre.mean(axis=-1).reshape(len(centre), -1)
        drawn: Floats = grey @ (self._moved if moved else self._still)
        drawn = drawn.reshape(len(centre), -1, len(_cosines(self._side - 2 * SHIFT)))
        drawn /= np.maximum(np.linalg.norm(drawn, axis=-1, keepdims=True), 1e-12)
        return drawn if moved else drawn[:, 0]


def _cosines(side: int) -> Floats:
    """Two-dimensional cosines (K, side, side) of unit length, without the constant."""
    order = min(ORDER, side - 1)
    place = (np.arange(side) + 0.5) / side
    waves = np.cos(np.pi * np.arange(order + 1)[:, None] * place)
    waves /= np.linalg.norm(waves, axis=1, keepdims=True)
    pairs = [(u, v) for u in range(order + 1) for v in range(order + 1 - u) if u + v]
    return np.stack([np.outer(waves[u], waves[v]) for u, v in pairs]).astype(np.float32)


def texture(centre: Floats) -> Floats:
    """How much detail tiles (N, S, S, C) have: root of its mean square, in deviations."""
    rest = _rest(centre)
    return np.asarray(np.sqrt(np.einsum("nhwc,nhwc->n", rest, rest) / rest[0].size), np.float32)


def detail(centre: Floats) -> Floats:
    """Detail (N, S - 4, S - 4, C) of tiles, cut at twice its median magnitude in each band.

    Uncut, a few edges would outweigh the rest, and any road would look like any other.
    """
    rest = _rest(centre)
    most = 2 * np.median(np.abs(rest), axis=(1, 2), keepdims=True) + 1e-6
    return np.asarray(np.clip(rest, -most, most) / most, np.float32)


def _rest(centre: Floats) -> Floats:
    """What is left of each band without its mean over 5 x 5 pixels."""
    inner = centre.shape[1] - BOX + 1
    rows: Floats = sum((centre[:, i : i + inner] for i in range(1, BOX)), centre[:, :inner])
    boxes: Floats = sum((rows[:, :, i : i + inner] for i in range(1, BOX)), rows[:, :, :inner])
    boxes *= -1 / BOX**2
    margin = BOX // 2
    boxes += centre[:, margin:-margin, margin:-margin]
    return boxes


def codes(sketches: Floats) -> NDArray[np.int64]:
    """Signs of sketches (..., K) as bits."""
    return (sketches > 0) @ (1 << np.arange(sketches.shape[-1], dtype=np.int64))


class Index:
    """Finds tiles by the codes of their sketches."""

    def __init__(self, sketches: Floats) -> None:
        self.sketches = sketches
        unsure = np.argsort(np.abs(sketches), axis=1, kind="stable")[:, :UNSURE]
        bits = np.int64(1) << unsure.astype(np.int64)
        plain = codes(sketches)
        chosen = [c for n in range(FLIPS + 1) for c in combinations(range(bits.shape[1]), n)]
        every = np.stack([plain ^ bits[:, list(c)].sum(axis=1) for c in chosen])
        order = np.argsort(every, axis=None, kind="stable")
        self._codes = every.reshape(-1)[order]
        self._owners = (order % max(1, len(sketches))).astype(np.int64)

    def candidates(self, moved: Floats) -> tuple[Rows, Rows, Rows]:
        """Query, move and tile of each pair whose sketches are close; ``moved`` is (N, M, K)."""
        wanted = codes(moved).reshape(-1)
        first = np.searchsorted(self._codes, wanted, "left")
        many = np.minimum(np.searchsorted(self._codes, wanted, "right") - first, MOST)
        asked = np.repeat(np.arange(len(wanted)), many)
        place = np.arange(len(asked)) - np.repeat(np.cumsum(many) - many, many)
        found = self._owners[first[asked] + place]
        flat = moved.reshape(len(wanted), -1)
        close = np.einsum("pk,pk->p", flat[asked], self.sketches[found]) >= COSINE
        query, move = np.divmod(asked[close], moved.shape[1])
        return query, move, found[close]


def correlations(one: Floats, other: Floats, moves: Rows) -> Floats:
    """Correlation (P,) of details (P, S, S, C) where the first is moved by OFFSETS[move]."""
    out = np.zeros(len(one), np.float32)
    side = one.shape[1]
    for move in np.unique(moves):
        here = np.flatnonzero(moves == move)
        down, across = OFFSETS[move]
        a = one[here, max(0, down) : side + min(0, down), max(0, across) : side + min(0, across)]
        b = other[
            here, max(0, -down) : side - max(0, down), max(0, -across) : side - max(0, across)
        ]
        norms = np.einsum("nhwc,nhwc->n", a, a) * np.einsum("nhwc,nhwc->n", b, b)
        out[here] = np.einsum("nhwc,nhwc->n", a, b) / np.sqrt(np.maximum(norms, 1e-12))
    return out
