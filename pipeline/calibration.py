"""Whether a confidence of 80 % is right in 80 % of the cases, and how to bring that about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.metrics import BINS, Counts, Floats

LIMIT = 5.0  # a temperature is between 1 / LIMIT and LIMIT


@dataclass(frozen=True, slots=True)
class Reliability:
    """Confidence against accuracy, bin by bin of the confidence; nan where a bin is empty."""

    tiles: Counts  # (bins,)
    confidence: Floats  # (bins,) mean
    accuracy: Floats  # (bins,)

    @classmethod
    def of(cls, probabilities: NDArray[Any], actual: NDArray[Any], bins: int = BINS) -> Reliability:
        """From (N, K) probabilities and labels (N,)."""
        confidence = probabilities.max(axis=1).astype(np.float64)
        place = metrics.bins_of(confidence, bins)
        hits = probabilities.argmax(axis=1) == actual
        tiles = np.bincount(place, minlength=bins)
        with np.errstate(invalid="ignore"):
            sums = [np.bincount(place, w, bins) / tiles for w in (confidence, hits.astype(float))]
        return cls(tiles, *sums)


def tempered(probabilities: NDArray[Any], temperature: float) -> Floats:
    """Probabilities (N, K) as if the logits had been divided by a temperature.

    The logarithm of a softmax is its logits but for a constant, so nothing else is needed; a
    temperature of 1 / T takes back one of T.
    """
    tiny = np.finfo(np.float32).tiny
    logits = np.log(np.maximum(probabilities.astype(np.float64), tiny)) / temperature
    shares: Floats = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True))


def fit(probabilities: NDArray[Any], actual: NDArray[Any]) -> float:
    """The temperature that makes tiles likeliest (Guo et al. 2017, arXiv 1706.04599).

    The likelihood has one maximum, as it is concave in 1 / T. A network that gets every tile
    right would be likeliest at T = 0, certain of everything: the temperature stops at 1 / LIMIT.

    Args:
        probabilities: (N, K) of tiles that the weights were not fitted to, untempered.
        actual: (N,) labels; 1 is the temperature of none.
    """
    from scipy.optimize import minimize_scalar

    if not len(actual):
        return 1.0

    def cost(log_temperature: float) -> float:
        return metrics.nll(tempered(probabilities, math.exp(log_temperature)), actual)

    edge = math.log(LIMIT)
    found = minimize_scalar(cost, bounds=(-edge, edge), method="bounded", options={"xatol": 1e-6})
    # Few digits: nobody sees the rest, and the file stays the same.
    return round(math.exp(float(found.x)), 4)
