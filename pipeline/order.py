"""In which order tiles are trained on, and which of them each process takes: pure, and seeded.

An order is made for reading in large pieces. Neighbouring tiles form windows of about a mebibyte;
the windows are shuffled, some of them at a time form a group, and the tiles of a group are
shuffled among each other. A split of one group is shuffled through and through. Whether tiles lie
in memory or come from disk, the order is the same, and so are the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import TrainingError

WINDOW_BYTES = 2**20  # read at once; below that a disk or a network file system turns slow
GROUP_WINDOWS = 64  # mixed with each other, and in memory together

Rows = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Order:
    """The order of an epoch.

    Args:
        tiles: Of the split.
        tile_bytes: Of one tile, as it is stored.
        seed: None leaves the tiles in their own order, as in evaluation.
        epoch: From 0.
        counts: How often each row (N,) comes in the epoch; None for once.
    """

    tiles: int
    tile_bytes: int
    seed: int | None = None
    epoch: int = 0
    counts: Rows | None = None

    @property
    def length(self) -> int:
        """Tiles of the epoch."""
        return self.tiles if self.counts is None else int(self.counts.sum())

    @property
    def window(self) -> int:
        """Tiles of a window; the last one may have less."""
        return max(1, WINDOW_BYTES // self.tile_bytes)

    def windows(self) -> Iterator[list[range]]:
        """Rows of the split as they are read: some windows at a time, those of a group.

        A window of which no row is wanted is not read.
        """
        for windows in self._windows(self._random()):
            yield [part for part in windows if self._wanted(part)]

    def sizes(self) -> Iterator[int]:
        """Tiles of the epoch in one group after the other."""
        for windows in self._windows(self._random()):
            yield sum(map(self._count, windows))

    def groups(self) -> Iterator[Rows]:
        """Rows of one group after the other, each once, or as often as it counts."""
        random = self._random()
        for windows in self._windows(random):
            rows = np.concatenate([np.arange(part.start, part.stop) for part in windows])
            if self.counts is not None:
                rows = rows.repeat(self.counts[rows])
            yield rows if random is None else random.permutation(rows)

    def _random(self) -> np.random.Generator | None:
        if self.seed is None:
            return None
        return np.random.default_rng(np.random.SeedSequence((self.seed, self.epoch)))

    def _windows(self, random: np.random.Generator | None) -> Iterator[list[range]]:
        starts = np.arange(0, self.tiles, self.window)
        if random is not None and len(starts) > GROUP_WINDOWS:  # else the rows are shuffled anyway
            starts = random.permutation(starts)
        for first in range(0, len(starts), GROUP_WINDOWS):
            yield [
                range(start, min(start + self.window, self.tiles))
                for start in starts[first : first + GROUP_WINDOWS].tolist()
            ]

    def _count(self, window: range) -> int:
        if self.counts is None:
            return len(window)
        return int(self.counts[window.start : window.stop].sum())

    def _wanted(self, window: range) -> bool:
        return self._count(window) > 0

    def rows(self) -> Rows:
        """All rows (N,) in the order of training."""
        return np.concatenate([np.empty(0, np.int64), *self.groups()])


def bootstrap(tiles: int, seed: int) -> Rows:
    """How often each of so many tiles (N,) comes in a sample of N, drawn with replacement.

    A function of the seed alone: a member of an ensemble sees the same sample in every epoch
    (Breiman 1996, "Bagging predictors"), with 63 % of the tiles in it, some of them several times.
    """
    # Apart from the numbers that shuffle, which come from (seed, epoch).
    random = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    return np.bincount(random.integers(tiles, size=tiles), minlength=tiles)


def borders(tiles: int, batch_size: int, ranks: int) -> list[int]:
    """Where global batches begin and end in the order of an epoch.

    What is left for a last batch joins the one before if it is less than half a batch, whatever
    the number of ranks, or does not hold two tiles for each: no rank idles, batch normalization
    needs two values to have a deviation, and few tiles would weigh as much as many.
    """
    if tiles < ranks:
        raise TrainingError(
            f"Expected a training tile or more for each of {ranks} devices, got {tiles}; set "
            "trainer.devices to less."
        )
    whole = batch_size * ranks
    ends = [*range(0, tiles, whole), tiles]
    if len(ends) > 2 and tiles - ends[-2] < max(2 * ranks, whole / 2):
        del ends[-2]
    return ends


def steps(tiles: int, batch_size: int, ranks: int) -> int:
    """Steps of an epoch."""
    return len(borders(tiles, batch_size, ranks)) - 1


def shares(
    order: Order, *, batch_size: int, rank: int = 0, ranks: int = 1
) -> Iterator[tuple[Rows, Rows]]:
    """The rows of each global batch of an epoch, and the part of them that one rank takes.

    A function of its arguments alone. Parts of different ranks are disjoint and make up the
    batch; a batch of ``n`` tiles gives each rank n / ranks of them, rounded up or down.
    """
    groups, waiting = order.groups(), np.empty(0, np.int64)
    for start, stop in pairwise(borders(order.length, batch_size, ranks)):
        while len(waiting) < stop - start:  # no more of them than are needed: there may be millions
            waiting = np.concatenate([waiting, next(groups)])
        batch, waiting = waiting[: stop - start], waiting[stop - start :]
        yield batch, np.ascontiguousarray(batch[rank::ranks])
