"""Intervals by the bootstrap over places: how far a measure would move on other ground.

A draw takes as many places as there are, with replacement, and measures on their tiles (Efron &
Tibshirani 1993, ch. 8 and 13). Every measure is made of sums over tiles, so that a draw is a
weighted sum of the places' sums, and all draws are one product of matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import Counts, Floats, wilson
from pipeline.places import Places

DRAWS, LEVEL, SEED = 2000, 0.95, 0
MOST = 1000  # units to draw from

Interval = tuple[float, float]
UNKNOWN: Interval = (math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Resampling:
    """Draws of places, the same for every measure."""

    over: str
    places: int
    unit: NDArray[np.int64]  # (N,) of each tile
    weights: Floats  # (draws, units), whole numbers: how often a draw took a unit

    @classmethod
    def of(cls, places: Places, draws: int = DRAWS, seed: int = SEED) -> Resampling:
        """Draw from the places of tiles.

        Many places are thrown together at random into ``MOST`` units of as many places each, which
        leaves the variance of a sum what it is (random groups, Wolter 2007, ch. 2).
        """
        rng = np.random.default_rng(seed)
        unit = places.codes
        count = int(unit.max(initial=-1)) + 1
        if count > MOST:
            unit = (rng.permutation(count) % MOST)[unit]
        units = min(count, MOST)
        even = np.full(units, 1 / max(units, 1))
        weights = rng.multinomial(units, even, size=draws).astype(np.float64)
        return cls(places.over, count, unit, weights)

    def sums(self, values: NDArray[Any]) -> Floats:
        """Sum of values (N, ...) over the tiles of each draw: (draws, ...)."""
        flat = values.reshape(len(self.unit), -1)
        units = self.weights.shape[1]
        own = np.stack([np.bincount(self.unit, column, units) for column in flat.T], axis=1)
        total: Floats = (self.weights @ own).reshape(len(self.weights), *values.shape[1:])
        return total

    def histograms(self, cells: NDArray[Any], size: int) -> Counts:
        """Tiles of each draw in each of the cells 0 to ``size`` - 1: (draws, size)."""
        units = self.weights.shape[1]
        own = np.bincount(self.unit * size + cells, minlength=units * size).reshape(units, size)
        counts: Counts = np.rint(self.weights @ own).astype(np.int64)
        return counts

    def share(self, hits: Floats, tiles: NDArray[np.bool_], draws: Floats) -> Interval:
        """Interval of a share of tiles.

        Args:
            hits: (N,) 1 or 0.
            tiles: (N,) which of them it is a share of.
            draws: (draws,) the share in each draw.

        Where each tile stands alone this is Wilson's (1927), which holds near 0 and 1 where the
        bootstrap falls short. Where no tile is a hit, or each one, a bootstrap sees no spread at
        all: then it is Wilson's with the places as the trials.
        """
        top, whole = int(hits[tiles].sum()), int(tiles.sum())
        if self.over == "tiles":
            return wilson(top, whole)
        if top in (0, whole):
            trials = len(np.unique(self.unit[tiles]))
            return wilson(trials if top else 0, trials)
        return self.interval(draws)

    def interval(self, draws: Floats, around: float | None = None) -> Interval:
        """Percentile interval of the draws (draws,) of a measure.

        Percentiles lie further out than 2.5 and 97.5, as far as Student's t and n / (n - 1) ask for
        so few places: the expanded interval of Hesterberg (2015, doi
        10.1080/00031305.2015.1089789), without which intervals are too short. nan where too few
        draws are defined, or none differs.

        ``around`` moves the draws so that their mean is there: for a measure that a resample makes
        larger by itself, as the calibration error, whose gaps get noise of their own.
        """
        known = draws[np.isfinite(draws)]
        if len(known) < len(draws) / 2 or not len(known) or np.ptp(known) == 0:
            return UNKNOWN
        if around is not None:
            known = known - known.mean() + around
        tail = _tail(self.weights.shape[1])
        low, high = np.quantile(known, (tail, 1 - tail))
        return float(low), float(high)


def _tail(units: int) -> float:
    """Share of the draws that lies beyond either end of the interval."""
    from scipy.special import ndtr, stdtrit

    if units < 2:
        return 0.0
    steps = stdtrit(units - 1, (1 + LEVEL) / 2) * math.sqrt(units / (units - 1))
    return float(ndtr(-steps))
