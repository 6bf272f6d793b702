"""Measures of a classifier from exact integer counts.

Everything but ``nll``, ``brier`` and ``ece`` comes from one (K, K) confusion matrix, rows true,
columns predicted; matrices of disjoint sets of tiles add up, so a measure never depends on how the
tiles were sliced. Of many matrices (..., K, K) at once a measure has the shape (...). What a class
without tiles can't have is nan here and null in a file, and is left out of the means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ClassError
from pipeline.types import Classes

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]

BINS = 15  # of the calibration error, as Guo et al. (2017) had them
DIGITS = 6  # enough for 10^5 tiles, few enough that files do not change with the last bit


@dataclass(frozen=True, slots=True)
class Weakest:
    """The class with the lowest recall, and what its missed tiles were taken for most often."""

    name: str
    recall: float
    support: int
    mistaken_for: str | None  # None: no tile of the class was missed
    count: int

    def sentence(self) -> str:
        """What a person should know about it."""
        if self.mistaken_for is None:
            return "No class is mistaken for another."
        found = percent(round(self.recall * self.support), self.support)
        share = f"{found} of its {self.support:,} tiles found"
        plural = "tile" if self.count == 1 else "tiles"
        return (
            f"Weakest class: {self.name} ({share}), "
            f"most often mistaken for {self.mistaken_for} ({self.count:,} {plural})."
        )


def confusion(actual: NDArray[Any], predicted: NDArray[Any], classes: int) -> Counts:
    """Counts (K, K), rows true, columns predicted, of labels (N,) from 0 to ``classes`` - 1."""
    if actual.shape != predicted.shape or actual.ndim != 1:
        raise ClassError(
            f"Expected as many predictions as labels, got {predicted.shape} for {actual.shape}."
        )
    for what, labels in (("true", actual), ("predicted", predicted)):
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ClassError(
                f"Expected {what} labels from 0 to {classes - 1}, "
                f"got {labels.min()} to {labels.max()}."
            )
    cells = actual.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def divide(top: NDArray[Any], bottom: NDArray[Any]) -> Any:
    """Quotient of each pair, nan where the divisor is 0; a number of two numbers."""
    quotient: Floats = np.full(np.broadcast(top, bottom).shape, np.nan)
    np.divide(top, bottom, out=quotient, where=np.asarray(bottom) != 0)
    return quotient[()]


def support(counts: Counts) -> Counts:
    """Tiles of each class (..., K)."""
    tiles: Counts = counts.sum(axis=-1)
    return tiles


def given(counts: Counts) -> Counts:
    """Tiles that were given each class (..., K)."""
    tiles: Counts = counts.sum(axis=-2)
    return tiles


def found(counts: Counts) -> Counts:
    """Tiles of each class that were found (..., K)."""
    return counts.diagonal(axis1=-2, axis2=-1)


def recall(counts: Counts) -> Floats:
    """Producer's accuracy (..., K): the share of a class's tiles that were found."""
    shares: Floats = divide(found(counts), support(counts))
    return shares


def precision(counts: Counts) -> Floats:
    """User's accuracy (..., K): the share of what was given a class that is of it."""
    shares: Floats = divide(found(counts), given(counts))
    return shares


def f1(counts: Counts) -> Floats:
    """Harmonic mean of recall and precision (..., K); nan only for a class without tiles."""
    values = divide(2 * found(counts), given(counts) + support(counts))
    return np.where(support(counts) > 0, values, np.nan)


def mean(values: Floats) -> Any:
    """Mean over the last axis of what is defined; nan where nothing is."""
    known = ~np.isnan(values)
    return divide(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


def accuracy(counts: Counts) -> Any:
    """Share of all tiles whose class was found."""
    return divide(found(counts).sum(axis=-1), counts.sum(axis=(-2, -1)))


def balanced_accuracy(counts: Counts) -> Any:
    """Mean recall of the classes that have tiles."""
    return mean(recall(counts))


def macro_f1(counts: Counts) -> Any:
    """Mean F1 of the classes that have tiles."""
    return mean(f1(counts))


def kappa(counts: Counts) -> Any:
    """Agreement beyond chance (Cohen 1960); nan where chance alone would agree everywhere."""
    total = counts.sum(axis=(-2, -1))
    chance = (given(counts) * support(counts)).sum(axis=-1)  # times total squared: still integers
    return divide(found(counts).sum(axis=-1) * total - chance, total * total - chance)


def matthews(counts: Counts) -> Any:
    """Correlation R_K of true and predicted classes; nan where either is always the same.

    Gorodkin 2004, doi 10.1016/j.compbiolchem.2004.09.006; for two classes it is Matthews's.
    """
    total = counts.sum(axis=(-2, -1))
    agreed = found(counts).sum(axis=-1) * total - (given(counts) * support(counts)).sum(axis=-1)
    spreads = [
        total * total - (tiles**2).sum(axis=-1) for tiles in (given(counts), support(counts))
    ]
    return divide(agreed, np.sqrt(spreads[0].astype(float)) * np.sqrt(spreads[1].astype(float)))


def wilson(hits: float, total: float, z: float = 1.959964) -> tuple[float, float]:
    """Score interval of a proportion (Wilson 1927), 95 % by default; (nan, nan) of nothing."""
    if total == 0:
        return math.nan, math.nan
    share = hits / total
    centre = share + z * z / (2 * total)
    half = z * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    scale = 1 + z * z / total
    # Rounding would leave a crumb at the ends, which are exact.
    low = 0.0 if hits == 0 else (centre - half) / scale
    return low, 1.0 if hits == total else (centre + half) / scale


def losses(probabilities: NDArray[Any], actual: NDArray[Any]) -> Floats:
    """Negative log-likelihood (N,) of each tile's class in nats, from (N, K) probabilities.

    A probability that underflowed to 0 counts as the smallest normal float32, about 87 nats.
    """
    own = probabilities[np.arange(len(actual)), actual].astype(np.float64)
    return np.asarray(-np.log(np.maximum(own, np.finfo(np.float32).tiny)))


def nll(probabilities: NDArray[Any], actual: NDArray[Any]) -> float:
    """Mean negative log-likelihood in nats of (N, K) probabilities."""
    return float(losses(probabilities, actual).mean())


def squares(probabilities: NDArray[Any], actual: NDArray[Any]) -> Floats:
    """Squared distance (N,) of each tile's probabilities (N, K) from certainty of its class."""
    certain = np.arange(probabilities.shape[1]) == actual[:, None]
    distance: Floats = np.square(probabilities.astype(np.float64) - certain).sum(axis=1)
    return distance


def brier(probabilities: NDArray[Any], actual: NDArray[Any]) -> float:
    """Brier score (Brier 1950) as he wrote it: summed over the classes, 0 at best, 2 at worst."""
    return float(squares(probabilities, actual).mean())


def bins_of(confidence: Floats, bins: int = BINS) -> Counts:
    """Bin (N,) of each confidence, of equal width and closed at the upper end."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    return np.digitize(confidence, edges[1:-1], right=True).astype(np.int64)


def ece(probabilities: NDArray[Any], actual: NDArray[Any], bins: int = BINS) -> float:
    """Expected calibration error of (N, K) probabilities, equal-width bins (Guo et al. 2017)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    hit = probabilities.argmax(axis=1) == actual
    gap = np.bincount(bins_of(confidence, bins), weights=hit - confidence, minlength=bins)
    return float(np.abs(gap).sum() / len(actual))


def percent(part: int, whole: int) -> str:
    """A share for people; says 0 % and 100 % only of none and of all."""
    if whole == 0:
        return "\N{EN DASH}"
    if 0 < part < whole and not 0.0005 <= part / whole < 0.9995:
        return "<0.1%" if 2 * part < whole else ">99.9%"
    return f"{part / whole:.1%}"


def rounded(value: float) -> float | None:
    """As it goes into a file: few digits, None for nan."""
    return None if math.isnan(value) else round(float(value), DIGITS)


def summarize(counts: Counts, classes: Classes) -> dict[str, Any]:
    """Every measure that the counts give, as ``reports/metrics.json`` names them."""
    columns = {"recall": recall(counts), "precision": precision(counts), "f1": f1(counts)}
    return {
        "n": int(counts.sum()),
        "accuracy": rounded(accuracy(counts)),
        "accuracy_ci95": [rounded(v) for v in wilson(int(found(counts).sum()), int(counts.sum()))],
        "balanced_accuracy": rounded(balanced_accuracy(counts)),
        "macro_f1": rounded(macro_f1(counts)),
        "kappa": rounded(kappa(counts)),
        "per_class": {
            name: {key: rounded(float(values[k])) for key, values in columns.items()}
            | {"support": int(support(counts)[k])}
            for k, name in enumerate(classes)
        },
    }


def weakest(counts: Counts, classes: Classes) -> Weakest:
    """The class found least often; of equals the one with more tiles, then the first."""
    shares, tiles = recall(counts), support(counts)
    present = [k for k in range(len(classes)) if tiles[k]]
    if not present:
        raise ClassError("Expected tiles to measure on, got none.")
    k = min(present, key=lambda k: (shares[k], -tiles[k]))
    missed = counts[k].copy()
    missed[k] = 0
    other = int(missed.argmax())
    name = classes.names[other] if missed[other] else None
    return Weakest(classes.names[k], float(shares[k]), int(tiles[k]), name, int(missed[other]))
