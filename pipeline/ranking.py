"""How well a score tells tiles of a class from all others, whatever the threshold.

A *ladder* is what lies at or above each distinct score, from the highest down: tiles of the class
and others, as integers (..., T). Equal scores share a step, as no threshold comes between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import Counts, Floats, divide
from pipeline.resampling import Resampling

STEPS = 256  # of a ladder that is resampled


class Ladder(NamedTuple):
    """Cumulative counts (..., T) of tiles of the class, and of others."""

    true: Counts
    false: Counts

    @classmethod
    def of(cls, score: NDArray[Any], positive: NDArray[np.bool_]) -> Ladder:
        """From scores (N,) and whether each tile is of the class (N,)."""
        order = np.argsort(-score, kind="stable")
        last = np.r_[np.flatnonzero(np.diff(score[order])), len(score) - 1][: len(score)]
        counts = [np.cumsum(kind[order], dtype=np.int64)[last] for kind in (positive, ~positive)]
        return cls(*counts)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A ladder, and those of the draws of a bootstrap, with scores rounded to few steps."""

    exact: Ladder
    rounded: Ladder
    drawn: Ladder  # (draws, T)

    @classmethod
    def of(cls, score: NDArray[Any], positive: NDArray[np.bool_], again: Resampling) -> Ranked:
        """From scores (N,) and whether each tile is of the class (N,)."""
        level, levels = _levels(score, positive)
        cells = again.histograms(2 * (levels - 1 - level) + positive, 2 * levels)
        steps = cells.reshape(len(cells), levels, 2).cumsum(axis=1)
        return cls(
            Ladder.of(score, positive),
            Ladder.of(level, positive),
            Ladder(steps[..., 1], steps[..., 0]),
        )

    def measured(self, measure: Callable[[Ladder], Any]) -> tuple[float, Floats]:
        """A measure from 0 to 1, and that of each draw (draws,), rid of what rounding changes."""
        point = float(measure(self.exact))
        return point, np.clip(measure(self.drawn) - measure(self.rounded) + point, 0.0, 1.0)


def _levels(score: NDArray[Any], positive: NDArray[np.bool_]) -> tuple[Counts, int]:
    """Level (N,) of each score, from the lowest up, and how many there are: at most ``STEPS``."""
    edges = np.unique(score)
    if len(edges) > STEPS:
        # Half of the steps where the class's scores are, half where the others' are.
        cuts = np.linspace(0, 1, STEPS // 2)
        parts = [np.quantile(score[kind], cuts) for kind in (positive, ~positive) if kind.any()]
        edges = np.unique(np.concatenate(parts))
    level = np.minimum(np.searchsorted(edges, score, side="left"), len(edges) - 1)
    return level.astype(np.int64), len(edges)


def auc(ladder: Ladder) -> Any:
    """Area under the ROC curve: the chance that a tile of the class scores above another.

    Equal scores count half (Hanley & McNeil 1982). nan where there are none of either kind.
    """
    before = np.concatenate([np.zeros_like(ladder.true[..., :1]), ladder.true[..., :-1]], axis=-1)
    steps = np.diff(ladder.false, axis=-1, prepend=0)
    twice = (steps * (ladder.true + before)).sum(axis=-1)  # an integer
    return divide(twice, 2 * _last(ladder.true) * _last(ladder.false))


def average_precision(ladder: Ladder) -> Any:
    """Mean precision over the tiles of the class, each at its own threshold; nan without such."""
    steps = np.diff(ladder.true, axis=-1, prepend=0)
    precision = ladder.true / np.maximum(ladder.true + ladder.false, 1)
    return divide((steps * precision).sum(axis=-1), _last(ladder.true))


def aurc(ladder: Ladder) -> Any:
    """Area under the risk-coverage curve (Geifman & El-Yaniv 2017), of confidences and hits.

    Mean over the tiles of the share of misses among those at least as confident.
    """
    tiles = ladder.true + ladder.false
    steps = np.diff(tiles, axis=-1, prepend=0)
    return divide((steps * (ladder.false / np.maximum(tiles, 1))).sum(axis=-1), _last(tiles))


def rates(ladder: Ladder) -> tuple[Floats, Floats]:
    """Shares (T + 1,) of the others and of the class at or above each score: the ROC curve."""
    false, true = (np.r_[0, part] / max(int(part[-1]), 1) for part in (ladder.false, ladder.true))
    return false, true


def precisions(ladder: Ladder) -> tuple[Floats, Floats]:
    """Recall and precision (T,) at each score: the precision-recall curve."""
    recall = ladder.true / max(int(ladder.true[-1]), 1)
    return recall, ladder.true / (ladder.true + ladder.false)


def _last(counts: Counts) -> Counts:
    return counts[..., -1] if counts.shape[-1] else counts.sum(axis=-1)
