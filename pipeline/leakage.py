"""What of one split stands in another one too: the same tiles, and near copies of them.

Of a pair the tile in the earlier split gives way (training before validation before test), so that
what is measured stays what it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import lookalikes
from pipeline.duplicates import Copies, Read, Rows, copies, digests
from pipeline.lookalikes import CORRELATION, OFFSETS, TEXTURE, Index, Sketcher, correlations
from pipeline.split import SPLITS, Codes

STEP = 2**20  # values of the tiles that are looked at together
KINDS = ("same", "turned", "near")


@dataclass(frozen=True)
class Leaks:
    """Pairs of tiles in two splits, and what else the search met."""

    first: Rows  # (P,) tile of the earlier split; of copies once, of near copies once a pair
    second: Rows  # (P,) tile of the later split
    kind: NDArray[np.int64]  # (P,) place in KINDS
    correlation: NDArray[np.float64]  # (P,) of the details
    shift: NDArray[np.int64]  # (P, 2) rows and columns that the second is moved by
    within: dict[str, int]  # split -> tiles that repeat another of the same split
    uniform: (
        int  # tiles of one value a band that stand in two splits: no copies, as far as one sees
    )
    plain: dict[str, int]  # split -> tiles without the texture to know a near copy by

    def rows(self, *kinds: str) -> Rows:
        """Tiles that give way, each once."""
        wanted = [KINDS.index(kind) for kind in kinds]
        return np.unique(self.first[np.isin(self.kind, wanted)])

    @cached_property
    def order(self) -> Rows:
        """Pairs as they are told: copies first, then near ones, the closest first."""
        return np.lexsort((self.first, -self.correlation, self.kind))


def find(
    read: Read,
    split: Codes,
    size: int,
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
) -> Leaks:
    """Search all tiles that have a split.

    Args:
        read: Gives the pixels (n, H, W, C) of rising rows.
        split: (N,) place in SPLITS; negative: not looked at.
        size: H and W.
        mean: (C,) of the training tiles, as is the deviation.
        deviation: (C,).
    """
    rows = np.flatnonzero(split >= 0)
    sketcher = Sketcher(size, mean, deviation)
    keys, sketches, textured = _look(read, rows, sketcher)
    same = copies(keys, lambda places: read(rows[places]))
    same = same._replace(rows=rows[same.rows])
    one = _across(same, split)
    known = set(zip(one[0].tolist(), one[1].tolist(), strict=True))
    two = _near(read, rows[textured], sketches, split, sketcher, known)
    plain = np.bincount(split[rows[~textured]], minlength=len(SPLITS))
    return Leaks(
        first=np.concatenate([one[0], two[0]]),
        second=np.concatenate([one[1], two[1]]),
        kind=np.concatenate([one[2], np.full(len(two[0]), KINDS.index("near"))]),
        correlation=np.concatenate([np.ones(len(one[0])), two[2]]),
        shift=np.concatenate([np.zeros((len(one[0]), 2), np.int64), two[3]]),
        within=_by_split(_repeats(same, split)),
        uniform=len(_across(same, split, uniform=True)[0]),
        plain=_by_split(plain) if sketcher.able else {},
    )


def _by_split(counts: NDArray[np.int64]) -> dict[str, int]:
    return dict(zip(SPLITS, counts.tolist(), strict=True))


def _chunks(rows: Rows, values: int) -> Iterator[Rows]:
    step = max(1, STEP // values)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


def _look(
    read: Read, rows: Rows, sketcher: Sketcher
) -> tuple[NDArray[np.uint64], lookalikes.Floats, NDArray[np.bool_]]:
    """Digest and texture (N,) of each tile, sketches of those with texture."""
    keys, sketches, textured = [np.empty(0, np.uint64)], [], [np.empty(0, bool)]
    for some in _chunks(rows, sketcher.values):
        pixels = read(some)
        keys.append(digests(pixels))
        has = np.zeros(len(some), bool)
        if sketcher.able:
            centre = sketcher.centre(pixels)
            has = lookalikes.texture(centre) >= TEXTURE
            sketches.append(sketcher.sketches(centre[has]))
        textured.append(has)
    drawn = np.concatenate(sketches) if sketches else np.empty((0, 1), np.float32)
    return np.concatenate(keys), drawn, np.concatenate(textured)


def _across(same: Copies, split: Codes, *, uniform: bool = False) -> tuple[Rows, Rows, Rows]:
    """Tiles that have a copy in a later split, one copy of each, and the kind."""
    wanted = np.flatnonzero(same.uniform == uniform)
    order = wanted[np.lexsort((split[same.rows[wanted]], same.group[wanted]))]
    group = same.group[order]
    other = order[np.searchsorted(group, group, "right") - 1]  # in the last split of each group
    first, second = same.rows[order], same.rows[other]
    across = split[first] < split[second]
    turned = same.look[order] != same.look[other]
    return first[across], second[across], turned[across].astype(np.int64)


def _repeats(same: Copies, split: Codes) -> NDArray[np.int64]:
    """How many tiles of each split repeat another of it (3,), leaving uniform ones out."""
    kept = ~same.uniform
    keys = np.stack([same.group[kept], split[same.rows[kept]]], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    again = np.ones(len(keys), bool)
    again[first] = False
    return np.bincount(keys[again, 1], minlength=len(SPLITS))


def _near(
    read: Read,
    rows: Rows,
    sketches: lookalikes.Floats,
    split: Codes,
    sketcher: Sketcher,
    known: set[tuple[int, int]],
) -> tuple[Rows, Rows, NDArray[np.float64], NDArray[np.int64]]:
    """Near copies in two splits: tile of the earlier one, of the later one, correlation, shift."""
    best: dict[tuple[int, int], tuple[float, int, int]] = {}
    if len(rows):
        index = Index(sketches)
        most = np.bincount(split[rows], minlength=len(SPLITS)).argmax()
        for some in _chunks(rows[split[rows] != most], sketcher.values):
            for query, other, share, move in _compare(read, some, rows, index, split, sketcher):
                swapped = split[query] < split[other]
                down, across = OFFSETS[move]
                pair = (query, other) if swapped else (other, query)
                told = (share, -down, -across) if swapped else (share, down, across)
                if pair not in known:
                    best[pair] = max(best.get(pair, told), told)
    found = np.array(list(best), np.int64).reshape(-1, 2)
    facts = np.array(list(best.values())).reshape(-1, 3)
    return found[:, 0], found[:, 1], facts[:, 0], facts[:, 1:].astype(np.int64)


def _compare(
    read: Read, some: Rows, rows: Rows, index: Index, split: Codes, sketcher: Sketcher
) -> list[tuple[int, int, float, int]]:
    """Near copies of some tiles: (tile, the other, correlation, place in OFFSETS)."""
    centre = sketcher.centre(read(some))
    query, move, place = index.candidates(sketcher.sketches(centre, moved=True))
    apart = split[some[query]] != split[rows[place]]
    query, move, other = query[apart], move[apart], rows[place[apart]]
    if not len(query):
        return []
    mine, mine_at = np.unique(query, return_inverse=True)
    theirs, theirs_at = np.unique(other, return_inverse=True)
    one = lookalikes.detail(centre[mine])
    two = lookalikes.detail(sketcher.centre(read(theirs)))
    share = np.zeros(len(query), np.float32)
    for part in _chunks(np.arange(len(query)), sketcher.values):
        share[part] = correlations(one[mine_at[part]], two[theirs_at[part]], move[part])
    close = share >= CORRELATION
    columns: list[list[Any]] = [
        column[close].tolist() for column in (some[query], other, share, move)
    ]
    return list(zip(*columns, strict=True))
