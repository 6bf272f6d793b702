"""What is gained by leaving out the tiles that the network is least sure of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import Floats


@dataclass(frozen=True, slots=True)
class Coverage:
    """Accuracy of the tiles at or above each confidence, from the highest down."""

    threshold: Floats  # (T,) distinct confidences
    coverage: Floats  # (T,) share of all tiles
    accuracy: Floats  # (T,) of these

    @classmethod
    def of(cls, confidence: Floats, hits: NDArray[np.bool_]) -> Coverage:
        """From confidences and hits (N,)."""
        order = np.argsort(-confidence, kind="stable")
        ordered = confidence[order]
        last = np.r_[np.flatnonzero(np.diff(ordered)), len(ordered) - 1][: len(ordered)]
        tiles = last + 1
        found = np.cumsum(hits[order])[last]
        return cls(ordered[last], tiles / max(len(ordered), 1), found / tiles)

    def reaching(self, wanted: float) -> float | None:
        """The threshold that leaves out fewest tiles, of those at least so accurate; None: none."""
        good = np.flatnonzero(self.accuracy >= wanted)
        return float(self.threshold[good[-1]]) if len(good) else None

    def at(self, threshold: float) -> tuple[float, float]:
        """Coverage and accuracy with a threshold; nan for the accuracy of nothing."""
        kept = int((self.threshold >= threshold).sum())
        if not kept:
            return 0.0, float("nan")
        return float(self.coverage[kept - 1]), float(self.accuracy[kept - 1])
