"""Training, validation and test: seeded, stratified, and never the same ground in two of them.

Each method maps tiles to *units* that stay whole: a tile, a group, a scene or a block of ground.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")
DROPPED = -1  # in place of a split

Codes = NDArray[np.int64]


def assign(units: Codes, labels: Codes, fractions: Sequence[float], seed: int) -> Codes:
    """Split (N,) of tiles, from their units 0 to U - 1 and labels, by wanted fractions."""
    count = int(units.max(initial=-1)) + 1
    if count == len(units):
        return _by_tile(labels[np.argsort(units)], fractions, seed)[units]
    table = np.zeros((count, int(labels.max(initial=-1)) + 1))
    np.add.at(table, (units, labels), 1)
    return _by_unit(table, fractions, seed)[units]


def _by_tile(labels: Codes, fractions: Sequence[float], seed: int) -> Codes:
    """Shuffle, then cut each class at the fractions; a split with a share gets a tile if it can."""
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    sizes = np.bincount(labels)
    ends = np.stack([_cut(size, fractions) for size in sizes]) if len(sizes) else np.empty((0, 3))
    ordered = labels[order]
    rank = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[ordered]
    split = np.empty(len(labels), np.int64)
    split[order] = (rank[:, None] >= ends[ordered][:, :-1]).sum(axis=1)
    return split


def _cut(size: int, fractions: Sequence[float]) -> Codes:
    """Ends of the splits among ``size`` tiles of a class."""
    wanted = np.asarray(fractions)
    counts = np.floor(wanted * size).astype(np.int64)
    remainder = wanted * size - counts
    for split in np.argsort(-remainder, kind="stable")[: size - counts.sum()]:
        counts[split] += 1
    for split in np.flatnonzero((counts == 0) & (wanted > 0)):
        if counts.max() > 1:
            counts[counts.argmax()] -= 1
            counts[split] += 1
    return np.cumsum(counts)


def _by_unit(table: NDArray[np.float64], fractions: Sequence[float], seed: int) -> Codes:
    """Greedy: each unit (row of class counts), largest first, goes where it fits best.

    The fit is chi-squared: squared deviation from the wanted count of each class in each split,
    over that count. Iterative stratification (Sechidis et al. 2011, doi
    10.1007/978-3-642-23808-6_10) serves the rarest class first; here a repair follows instead.
    """
    shares = np.asarray(fractions)
    open_splits = np.flatnonzero(shares > 0)
    present = table.sum(axis=0) > 0
    wanted = shares[open_splits, None] * table.sum(axis=0)[present]
    rows = table[:, present]
    shuffled = np.random.default_rng(seed).permutation(len(rows))
    order = shuffled[np.argsort(-rows.sum(axis=1)[shuffled], kind="stable")]
    have = np.zeros_like(wanted)
    chosen = np.empty(len(rows), np.int64)
    for unit in order:
        row = rows[unit]
        chosen[unit] = np.argmin(((2 * (have - wanted) + row) * row / wanted).sum(axis=1))
        have[chosen[unit]] += row
    _repair(rows, chosen, have, wanted)
    return np.asarray(open_splits[chosen])


def _repair(
    rows: NDArray[np.float64], chosen: Codes, have: NDArray[np.float64], wanted: NDArray[np.float64]
) -> None:
    """Move units, in place, until each class is in each split, or no move can bring that about."""
    for split, label in np.argwhere(have == 0):
        if have[split, label]:
            continue  # a move for another class brought this one along
        # A unit may leave a split that keeps some of each of its classes.
        left = have[chosen] - rows
        free = ((left > 0) | (rows == 0)).all(axis=1)
        movable = np.flatnonzero((rows[:, label] > 0) & free & (chosen != split))
        if not len(movable):
            continue
        row, old = rows[movable], chosen[movable]
        arrive = ((2 * (have - wanted)[split] + row) * row / wanted[split]).sum(axis=1)
        leave = ((row - 2 * (have - wanted)[old]) * row / wanted[old]).sum(axis=1)
        unit = movable[np.argmin(arrive + leave)]
        have[chosen[unit]] -= rows[unit]
        have[split] += rows[unit]
        chosen[unit] = split


def in_folds(
    units: Codes, labels: Codes, fractions: Sequence[float], folds: int, fold: int, seed: int
) -> Codes:
    """Split (N,) whose test is one of ``folds`` equal parts, made of whole units.

    The parts are the same for each ``fold``, so each tile is a test tile once. Training and
    validation share the other parts as ``fractions`` of the three splits say.
    """
    part = assign(units, labels, [1 / folds] * folds, seed)
    split = np.full(len(units), SPLITS.index("test"))
    rest = np.flatnonzero(part != fold)
    whole = fractions[0] + fractions[1]
    _, own = np.unique(units[rest], return_inverse=True)
    split[rest] = assign(own, labels[rest], (fractions[0] / whole, fractions[1] / whole), seed)
    return split


def official(
    given: Codes, units: Codes, labels: Codes, fractions: Sequence[float], seed: int
) -> Codes:
    """Keep the test tiles (``given`` 2) and cut validation from the training tiles, whole units."""
    split = given.copy()
    train = np.flatnonzero(given == 0)
    share = fractions[0] + fractions[1]
    cut = (fractions[0] / share, fractions[1] / share) if share else (1.0, 0.0)
    _, own = np.unique(units[train], return_inverse=True)
    split[train] = assign(own, labels[train], cut, seed)
    return split


def beyond(split: Codes, labels: Codes, most: int, seed: int) -> NDArray[np.bool_]:
    """Which training tiles (N,) are too many, where a class is to have ``most`` of them.

    The seed chooses; of the same seed, a smaller number gives a part of what a larger one gives.
    """
    train = np.flatnonzero(split == 0)
    shuffled = train[np.random.default_rng(seed).permutation(len(train))]
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    ordered = labels[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    found = np.zeros(len(split), bool)
    found[order[rank >= most]] = True
    return found


def blocks(
    x: NDArray[np.float64], y: NDArray[np.float64], frame: Codes, size: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Key (..., 3) of the square of ground that each point lies in; ``size`` is its side."""
    column, row = np.floor(x / size), np.floor(y / size)
    return np.stack(np.broadcast_arrays(frame, column, row), axis=-1).astype(np.int64)


def number(keys: NDArray[np.int64]) -> Codes:
    """Units 0 to U - 1 of keys, (N,) or (N, parts)."""
    units = np.zeros(len(keys), np.int64)
    for part in keys.reshape(len(keys), -1).T:  # a sort a part; sorting whole rows is far slower
        values, codes = np.unique(part, return_inverse=True)
        units = np.unique(units * len(values) + codes, return_inverse=True)[1]
    return units


def overlaps(
    bounds: NDArray[np.float64], frame: Codes, split: Codes, *, touching: bool = False
) -> NDArray[np.int64]:
    """Pairs (P, 2) of tiles of different splits that share ground; the earlier split is first.

    ``bounds`` (N, 4) are left, bottom, right, top within a frame; -1 is no frame. Tiles that touch,
    or that overlap by less than a thousandth of a side, as rounding makes them do, share nothing,
    unless those that touch are asked for, too.
    """
    import shapely

    pairs = [np.empty((0, 2), np.int64)]
    side = np.minimum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    inwards = np.array([1, 1, -1, -1]) * (-1 if touching else 1)
    shrunk = bounds + side[:, None] * inwards * 5e-4
    for value in np.unique(frame[(frame >= 0) & (split >= 0)]):
        here = np.flatnonzero((frame == value) & (split >= 0))
        here = here[_near_another_split(shrunk[here], split[here])]
        boxes = shapely.box(*shrunk[here].T)
        for first in range(len(SPLITS) - 1):
            mine, others = split[here] == first, split[here] > first
            tree = shapely.STRtree(boxes[mine])
            found = tree.query(boxes[others], predicate="intersects")
            pairs.append(np.stack([here[mine][found[1]], here[others][found[0]]], axis=1))
    return np.concatenate(pairs)


def _near_another_split(bounds: NDArray[np.float64], split: Codes) -> NDArray[np.bool_]:
    """Whether a tile reaches into a cell of ground, as wide as the widest, with another split.

    Spares a tree of half a million boxes where only those along the borders of blocks matter.
    """
    width = max(np.ptp(bounds[:, 0::2], axis=1).max(), np.ptp(bounds[:, 1::2], axis=1).max())
    cells = np.floor(bounds / width).astype(np.int64)
    keys = np.stack([cells[:, x] * 2**32 + cells[:, y] for x in (0, 2) for y in (1, 3)])
    order = np.argsort(keys, axis=None)
    ordered = keys.reshape(-1)[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    owners = split[order % len(split)]
    mixed = np.minimum.reduceat(owners, starts) < np.maximum.reduceat(owners, starts)
    reached = np.zeros(len(split), bool)
    reached[order[np.repeat(mixed, np.diff(np.r_[starts, len(order)]))] % len(split)] = True
    return reached
