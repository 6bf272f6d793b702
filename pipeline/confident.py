"""Confident learning: labels that a network doubts which did not learn from them.

Northcutt, Jiang and Chuang 2021, doi 10.1613/jair.1.12125. A tile counts as of class j where the
probability of j reaches what tiles labelled j have on average; where that is another class than
the given one, the label is suspect. An average of its own for each class spares classes that the
network is never sure of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import Counts, confusion

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Suspects:
    """Tiles whose label is suspect, the most suspect first."""

    rows: NDArray[np.int64]  # (M,)
    given: NDArray[np.int64]  # (M,) label
    suspected: NDArray[np.int64]  # (M,) label that the tile seems to have
    margin: Floats  # (M,) probability of the suspected label over that of the given one
    share: float  # of all labels that are wrong, estimated


def thresholds(probabilities: NDArray[Any], given: NDArray[np.int64]) -> Floats:
    """Mean probability (K,) of a class among tiles labelled so; of a class without tiles inf."""
    classes = probabilities.shape[1]
    sums = np.bincount(given, probabilities[np.arange(len(given)), given], minlength=classes)
    counts = np.bincount(given, minlength=classes)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)


def suspects(probabilities: NDArray[Any], given: NDArray[np.int64]) -> Suspects:
    """Labels (N,) that probabilities (N, K), out of fold, contradict."""
    wide = probabilities.astype(np.float64)
    confident = wide >= thresholds(wide, given)
    counted = confident.any(axis=1)
    found = np.where(confident, wide, -1.0).argmax(axis=1)
    rows = np.flatnonzero(counted & (found != given))
    margin = wide[rows, found[rows]] - wide[rows, given[rows]]
    order = np.argsort(-margin, kind="stable")
    joint = confusion(given[counted], found[counted], wide.shape[1])
    return Suspects(
        rows[order], given[rows][order], found[rows][order], margin[order], noise(joint, given)
    )


def noise(joint: Counts, given: NDArray[np.int64]) -> float:
    """Share of wrong labels from the confident joint (K, K), rows given, columns suspected.

    Each row is brought to the number of tiles with that label, as tiles that reach no class's
    threshold are in no cell.
    """
    counts = np.bincount(given, minlength=len(joint))
    rows = joint.sum(axis=1)
    wrong = (rows - joint.diagonal()) * counts / np.maximum(rows, 1)
    return float(wrong.sum() / max(1, len(given)))
