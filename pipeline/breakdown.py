"""Accuracy scene by scene, or place by place: a mean hides where a network fails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline import metrics
from pipeline.measuring import Measurement
from pipeline.resampling import Interval


@dataclass(frozen=True, slots=True)
class Row:
    """What was found in one scene or place."""

    name: str
    n: int
    hits: int
    reach: Interval  # 95 % interval of the accuracy

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
    """A row a group, the worst first; of equals, the one with more tiles.

    Intervals are Wilson's (1927). Of groups that hold several places n tiles count as n over the
    design effect of the accuracy on all tiles (Kish 1965), as places too few to resample are.
    """
    if not group:
        return []
    names, codes = np.unique([group[tile] for tile in measured.evidence.ids], return_inverse=True)
    counts = np.bincount(2 * codes + measured.evidence.hits, minlength=2 * len(names))
    effect = _design_effect(measured) if measured.again.places > len(names) else 1.0
    found = []
    for name, (missed, hits) in zip(names, counts.reshape(-1, 2).tolist(), strict=True):
        reach = metrics.wilson(hits / effect, (hits + missed) / effect)
        found.append(Row(str(name), hits + missed, hits, reach))
    return sorted(found, key=lambda row: (row.accuracy, -row.n, row.name))


def _design_effect(measured: Measurement) -> float:
    """How many times the variance of the accuracy is what it would be with a place a tile."""
    share = float(metrics.accuracy(measured.counts))
    alone = share * (1 - share) / len(measured.evidence.ids)
    if measured.again.over == "tiles" or not alone:
        return 1.0
    return max(1.0, float(np.var(metrics.accuracy(measured.draws))) / alone)


def worst(found: Sequence[Row], most: int = 3) -> str:
    """A sentence that names the worst groups."""
    told = ", ".join(f"{row.name} ({row.accuracy:.1%} of {row.n:,})" for row in found[:most])
    return f"Worst of {len(found):,}: {told}."
