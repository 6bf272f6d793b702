"""Accuracy scene by scene, or place by place: a mean hides where a network fails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline import metrics
from pipeline.measuring import Measurement
from pipeline.resampling import Interval, interval

FEWEST = 5  # places of a group that a bootstrap over them makes sense with


@dataclass(frozen=True, slots=True)
class Row:
    """What was found in one scene or place."""

    name: str
    n: int
    hits: int
    reach: Interval  # of the accuracy
    over: str  # what the interval resampled

    @property
    def accuracy(self) -> float:
        """Share of its tiles whose class was found."""
        return self.hits / self.n


def level(index: pd.DataFrame, measured: Measurement) -> dict[str, str]:
    """Group of each tile by id: its scene where there are several of several tiles, else its place.

    Empty where tiles stand alone. ``index`` has a row for each tile measured.
    """
    if 1 < index["source"].nunique() < len(index):
        return dict(zip(index["id"], index["source"], strict=True))
    if measured.again.over == "tiles":
        return {}
    return dict(zip(measured.evidence.ids, measured.evidence.places.names, strict=True))


def rows(measured: Measurement, group: dict[str, str]) -> list[Row]:
    """A row a group, the worst first; of equals, the one with more tiles."""
    if not group:
        return []
    names, codes = np.unique([group[tile] for tile in measured.evidence.ids], return_inverse=True)
    counts = np.bincount(2 * codes + measured.evidence.hits, minlength=2 * len(names))
    places = pd.Series(measured.evidence.places.codes).groupby(codes).nunique().to_numpy(np.int64)
    reach = _reach(measured, codes, places)
    found = [
        Row(str(name), int(missed + hits), int(hits), *reach.get(k, _alone(hits, missed)))
        for k, (name, (missed, hits)) in enumerate(zip(names, counts.reshape(-1, 2), strict=True))
    ]
    return sorted(found, key=lambda row: (row.accuracy, -row.n, row.name))


def _alone(hits: int, missed: int) -> tuple[Interval, str]:
    return metrics.wilson(int(hits), int(hits + missed)), "tiles"


def _reach(
    measured: Measurement, codes: metrics.Counts, places: metrics.Counts
) -> dict[int, tuple[Interval, str]]:
    """Intervals of the groups that have places enough, from the draws that all measures share."""
    if measured.again.over == "tiles" or not len(many := np.flatnonzero(places >= FEWEST)):
        return {}
    cell = np.full(len(places), len(many))  # all others in the last
    cell[many] = np.arange(len(many))
    size = 2 * (len(many) + 1)
    draws = measured.again.histograms(2 * cell[codes] + measured.evidence.hits, size)
    shares = metrics.divide(draws[:, 1::2], draws[:, ::2] + draws[:, 1::2])
    found = {int(k): interval(shares[:, i]) for i, k in enumerate(many)}
    # Without a spread each tile is a hit, or none: there the tiles tell more.
    return {k: (r, measured.again.over) for k, r in found.items() if not np.isnan(r[0])}
