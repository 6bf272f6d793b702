"""Areas of the classes, from a map and what its tiles turned out to be.

The pixels that a map gives a class are no estimate of its area: they hold what was mapped wrongly
and lack what was missed. The stratified estimator corrects them by the confusion matrix, the map's
classes being the strata: P. Olofsson et al. (2014), Good practices for estimating area and
assessing accuracy of land change, Remote Sensing of Environment 148, doi 10.1016/j.rse.2014.02.015;
the numbers of equations below are theirs. It takes the tiles for a random sample of what the map
gave each class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.metrics import Counts, Floats

Z = 1.96  # standard errors to either side that hold 95 %, to the digits of the paper


@dataclass(frozen=True, slots=True)
class Estimate:
    """Values (K,) or one, and their standard errors."""

    value: Floats
    error: Floats

    def interval(self, most: float = np.inf) -> tuple[Floats, Floats]:
        """95 % to either side, from 0 to ``most``.

        nan where the error is 0: a sample without a mistake does not tell how rare mistakes are.
        """
        reach = np.where(self.error > 0, Z * self.error, np.nan)
        return np.maximum(self.value - reach, 0.0), np.minimum(self.value + reach, most)


@dataclass(frozen=True, slots=True)
class Areas:
    """What the map would measure on all of its ground."""

    accuracy: Estimate
    users: Estimate  # (K,)
    producers: Estimate  # (K,)
    area: Estimate  # (K,) in the unit of the mapped areas


def estimate(counts: Counts, mapped: Floats) -> Areas:
    """Unbiased accuracies and areas.

    Args:
        counts: (K, K), rows true, columns predicted.
        mapped: (K,) area that the map gives each class, in any unit.

    Returns:
        nan for what a mapped class with fewer than two tiles leaves unknown.
    """
    sample = counts.T.astype(np.float64)  # rows mapped, columns true, as in the paper
    tiles = sample.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = sample / tiles[:, None]
        shares[mapped == 0] = 0.0  # a stratum without ground adds nothing
        spread = shares * (1 - shares) / (tiles[:, None] - 1)
        spread[mapped == 0] = 0.0
        weight = mapped / mapped.sum()
        proportion = weight[:, None] * shares  # eq. 4
        of_class = proportion.sum(axis=0)
        users = np.where(mapped > 0, shares.diagonal(), np.nan)
        users_variance = spread.diagonal()  # eq. 6
        producers = proportion.diagonal() / of_class  # eq. 3
        own = mapped**2 * (1 - producers) ** 2 * users_variance
        others = mapped[:, None] ** 2 * spread
        np.fill_diagonal(others, 0.0)
        whole = (of_class * mapped.sum()) ** 2
        producers_variance = (own + producers**2 * others.sum(axis=0)) / whole  # eq. 7
        of_class_variance = (weight[:, None] ** 2 * spread).sum(axis=0)  # eq. 10
    overall = np.asarray(proportion.trace())  # eq. 1
    overall_variance = (weight**2 * users_variance).sum()  # eq. 5
    return Areas(
        Estimate(overall, np.sqrt(overall_variance)),
        Estimate(users, np.sqrt(users_variance)),
        Estimate(producers, np.sqrt(producers_variance)),
        Estimate(of_class * mapped.sum(), np.sqrt(of_class_variance) * mapped.sum()),  # eq. 9, 11
    )
