"""All measures of a classifier, each with the interval that its places give it.

One confusion matrix and one table of probabilities say everything; every number is a function of
sums over tiles, and so are the draws of the bootstrap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline import metrics, ranking
from pipeline.evidence import Evidence
from pipeline.metrics import BINS, Counts, Floats, rounded
from pipeline.ranking import Ranked
from pipeline.resampling import DRAWS, LEVEL, Interval, Resampling

OF_COUNTS: dict[str, Callable[[Counts], Any]] = {
    "balanced_accuracy": metrics.balanced_accuracy,
    "macro_f1": metrics.macro_f1,
    "kappa": metrics.kappa,
    "matthews": metrics.matthews,
}
OF_TILES = {"nll": metrics.losses, "brier": metrics.squares}  # means over tiles
OF_LADDERS = {"auc": ranking.auc, "average_precision": ranking.average_precision}


@dataclass(frozen=True)
class Measurement:
    """Evidence, and the draws of its places."""

    evidence: Evidence
    again: Resampling

    @classmethod
    def of(cls, evidence: Evidence) -> Measurement:
        """Put the tiles in the order of their ids, so that their order changes no last digit."""
        whole = Evidence.joined([evidence])
        return cls(whole, Resampling.of(whole.places))

    @cached_property
    def counts(self) -> Counts:
        """The confusion matrix (K, K)."""
        return self.evidence.counts

    @cached_property
    def draws(self) -> Counts:
        """The confusion matrix of each draw (draws, K, K)."""
        size = len(self.evidence.classes)
        cells = self.evidence.actual * size + self.evidence.predicted
        return self.again.histograms(cells, size * size).reshape(-1, size, size)

    def summary(self) -> dict[str, Any]:
        """Everything, as ``reports/metrics.json`` names it, in its order."""
        values: dict[str, Any] = {"n": len(self.evidence.ids)}
        values |= told("accuracy", metrics.accuracy(self.counts), self._of_hits())
        for name, measure in OF_COUNTS.items():
            values |= told(name, measure(self.counts), self.again.interval(measure(self.draws)))
        values |= self._top2() | self._of_tiles() | self._ece() | self._aurc()
        for name, (points, draws) in self._of_ladders.items():
            values |= told(
                f"macro_{name}", metrics.mean(points), self.again.interval(metrics.mean(draws))
            )
        values["interval"] = {
            "over": self.again.over, "places": self.again.places, "draws": DRAWS, "level": LEVEL,
        }  # fmt: skip
        values["per_class"] = {
            name: self._of_class(k) for k, name in enumerate(self.evidence.classes)
        }
        return values

    def _of_hits(self) -> Interval:
        everywhere = np.ones(len(self.evidence.ids), bool)
        hits = self.evidence.hits.astype(np.float64)
        return self.again.share(hits, everywhere, metrics.accuracy(self.draws))

    def _top2(self) -> dict[str, Any]:
        """Share of tiles whose class is among the two likeliest; of equals, the first count."""
        likeliest = np.argsort(-self.evidence.probabilities, axis=1, kind="stable")[:, :2]
        hits = (likeliest == self.evidence.actual[:, None]).any(axis=1).astype(np.float64)
        draws = self._mean(hits)
        reach = self.again.share(hits, np.ones(len(hits), bool), draws)
        return told("top2_accuracy", hits.mean(), reach)

    def _mean(self, values: Floats) -> Floats:
        """Mean over the tiles of each draw (draws,)."""
        mean: Floats = self.again.sums(values) / self.draws.sum(axis=(1, 2))
        return mean

    def _of_tiles(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, measure in OF_TILES.items():
            each = measure(self.evidence.probabilities, self.evidence.actual)
            values |= told(name, each.mean(), self.again.interval(self._mean(each)))
        return values

    def _ece(self) -> dict[str, Any]:
        evidence = self.evidence
        point = metrics.ece(evidence.probabilities, evidence.actual)
        in_bin = np.arange(BINS) == metrics.bins_of(evidence.confidence)[:, None]
        gaps = self.again.sums(in_bin * (evidence.hits - evidence.confidence)[:, None])
        draws = np.abs(gaps).sum(axis=1) / self.draws.sum(axis=(1, 2))
        low, high = self.again.interval(draws, around=point)
        return told("ece", point, (max(low, 0.0), high))

    def _aurc(self) -> dict[str, Any]:
        ranked = Ranked.of(self.evidence.confidence, self.evidence.hits, self.again)
        point, draws = ranked.measured(ranking.aurc)
        return told("aurc", point, self.again.interval(draws))

    @cached_property
    def _of_ladders(self) -> dict[str, tuple[Floats, Floats]]:
        """Values (K,) and draws (draws, K) of what comes from one class against the rest."""
        found: dict[str, list[tuple[float, Floats]]] = {name: [] for name in OF_LADDERS}
        for k in range(len(self.evidence.classes)):
            score = self.evidence.probabilities[:, k]
            ranked = Ranked.of(score, self.evidence.actual == k, self.again)
            for name, measure in OF_LADDERS.items():
                found[name].append(ranked.measured(measure))
        return {
            name: (np.array([point for point, _ in pairs]), np.stack([d for _, d in pairs], axis=1))
            for name, pairs in found.items()
        }

    def _of_class(self, k: int) -> dict[str, Any]:
        """All of one class; its shares are of the tiles that have it, or that were given it."""
        hits = self.evidence.hits.astype(np.float64)
        values: dict[str, Any] = {}
        for name, measure, tiles in (
            ("recall", metrics.recall, self.evidence.actual == k),
            ("precision", metrics.precision, self.evidence.predicted == k),
        ):
            reach = self.again.share(hits, tiles, measure(self.draws)[:, k])
            values |= told(name, measure(self.counts)[k], reach)
        values |= told(
            "f1", metrics.f1(self.counts)[k], self.again.interval(metrics.f1(self.draws)[:, k])
        )
        for name, (points, draws) in self._of_ladders.items():
            values |= told(name, points[k], self.again.interval(draws[:, k]))
        return values | {"support": int(metrics.support(self.counts)[k])}


def told(name: str, value: float, reach: Interval) -> dict[str, Any]:
    """A measure and its interval as they go into a file: null for what is not known."""
    low, high = (rounded(end) for end in reach)
    told = rounded(float(value))
    known = None not in (told, low, high)
    return {name: told, f"{name}_ci95": [low, high] if known else None}
