"""Whether a confidence of 80 % is right in 80 % of the cases, and how to bring that about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import metrics
from pipeline.metrics import BINS, Counts, Floats
from pipeline.places import Places

LIMIT = 5.0  # a temperature is between 1 / LIMIT and LIMIT
PRIOR = 0.5  # deviation of its logarithm before a tile is seen: most are between 1 / e and e
FOLDS = 10


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
    """The likeliest temperature (Guo et al. 2017, arXiv 1706.04599), if it is normally near 1.

    The likelihood has one maximum, as it is concave in 1 / T. Of few tiles it says little: where
    all of them are right it is likeliest to be certain of everything. So the logarithm of T has a
    normal prior of deviation ``PRIOR``, which a few hundred tiles outweigh.

    Args:
        probabilities: (N, K) of tiles that the weights were not fitted to, untempered.
        actual: (N,) labels; 1 is the temperature of none.
    """
    from scipy.optimize import minimize_scalar

    if not len(actual):
        return 1.0

    def cost(log_temperature: float) -> float:
        prior = (log_temperature / PRIOR) ** 2 / (2 * len(actual))
        return prior + metrics.nll(tempered(probabilities, math.exp(log_temperature)), actual)

    edge = math.log(LIMIT)
    found = minimize_scalar(cost, bounds=(-edge, edge), method="bounded", options={"xatol": 1e-6})
    # Few digits: nobody sees the rest, and the file stays the same.
    return round(math.exp(float(found.x)), 4)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A temperature, and what it brings on tiles that it was not fitted to."""

    found: float
    gain: float  # nats of the negative log-likelihood, a mean over tiles; nan: not known
    error: float  # standard error of the gain
    tiles: int

    @property
    def helps(self) -> bool:
        """Whether it does, by more than the standard error (Breiman et al. 1984, section 3.4.3)."""
        return self.gain > self.error

    @property
    def temperature(self) -> float:
        """The one to use."""
        return self.found if self.helps else 1.0

    def sentence(self) -> str:
        """What came of it, for people."""
        fitted = f"fitted to {self.tiles:,} validation tiles"
        if self.helps:
            return f"Temperature {self.found:g}, {fitted}."
        spread = (
            ""
            if math.isnan(self.gain)
            else f": {self.gain:+.4f} nats, standard error {self.error:.4f}"
        )
        return (
            f"No temperature: {self.found:g}, {fitted}, brings no sure gain on tiles that it was "
            f"not fitted to{spread}."
        )


def guarded(probabilities: NDArray[Any], actual: NDArray[Any], places: Places) -> Fitted:
    """The temperature of ``fit`` if it does better than none on tiles that it was not fitted to.

    Whole places are left out in turn, a tenth of them at a time, and the gain is that of their
    tiles under the temperature of all others. Places, not tiles, are taken for independent.
    """
    found = fit(probabilities, actual)
    unit = places.codes
    units = int(unit.max(initial=-1)) + 1
    if units < 2:
        return Fitted(found, math.nan, math.nan, len(actual))
    fold = np.random.default_rng(0).permutation(units)[unit] % min(FOLDS, units)
    gains = np.zeros(len(actual))
    for out in (fold == k for k in range(min(FOLDS, units))):
        warm = tempered(probabilities[out], fit(probabilities[~out], actual[~out]))
        gains[out] = metrics.losses(probabilities[out], actual[out])
        gains[out] -= metrics.losses(warm, actual[out])
    return Fitted(found, float(gains.mean()), _error(gains, unit, units), len(actual))


def _error(values: Floats, unit: Counts, units: int) -> float:
    """Standard error of a mean (N,) over tiles whose units are independent.

    It is a ratio, of the units' sums to their numbers of tiles (Cochran 1977, section 2.11).
    """
    apart = np.bincount(unit, values - values.mean(), units)
    return math.sqrt(units / (units - 1) * float(np.square(apart).sum())) / len(values)
