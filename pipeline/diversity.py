"""How much the members of an ensemble differ: pure, from which of them is right on which tile.

Kuncheva and Whitaker 2003, "Measures of diversity in classifier ensembles and their relationship
with the ensemble accuracy", whose measures look at right and wrong alone. Of a pair of members,
``n11`` tiles are right with both, ``n00`` with neither, ``n10`` and ``n01`` with one alone.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Pair(NamedTuple):
    """Two members and how they differ."""

    first: int
    second: int
    disagreement: float  # share of tiles that one of them has right and the other wrong
    q: float  # Yule's Q; nan where it is 0 / 0


def pairs(right: NDArray[np.bool_]) -> list[Pair]:
    """All pairs of members, of which ``right`` (M, N) says who has which tile right."""
    found = []
    for i, j in combinations(range(len(right)), 2):
        one, other = right[i], right[j]
        cells = [int((a & b).sum()) for a in (one, ~one) for b in (other, ~other)]
        found.append(Pair(i, j, (cells[1] + cells[2]) / len(one), yule(*cells)))
    return found


def yule(n11: int, n10: int, n01: int, n00: int) -> float:
    """Yule's Q (1900): (n11 n00 - n01 n10) / (n11 n00 + n01 n10), nan where it is 0 / 0.

    1: who is right with one member is right with the other; 0: they err independently of each
    other; -1: where one errs the other is right.
    """
    alike, unlike = n11 * n00, n01 * n10
    return (alike - unlike) / (alike + unlike) if alike + unlike else float("nan")


def most_disagreement(accuracies: Floats) -> float:
    """The most that pairs of members can disagree in the mean, given how often each is right.

    A tile on which two disagree is an error of one of them, and a hit of the other: with e1 and e2
    of all tiles wrong they disagree on min(e1 + e2, 2 - e1 - e2) at most. So better members
    disagree less, the paradox of diversity.
    """
    errors = [
        (1 - accuracies[i]) + (1 - accuracies[j])
        for i, j in combinations(range(len(accuracies)), 2)
    ]
    return float(np.mean([min(both, 2 - both) for both in errors]))


def brier(probabilities: NDArray[np.floating], actual: NDArray[np.integer]) -> float:
    """Mean squared distance of probabilities (N, K) from the truth, over classes (Brier 1950)."""
    wanted = np.eye(probabilities.shape[1])[actual]
    return float(np.square(probabilities.astype(np.float64) - wanted).sum(axis=1).mean())


def ambiguity(probabilities: NDArray[np.floating]) -> float:
    """Mean squared distance of members' probabilities (M, N, K) from their mean.

    Exactly what the soft vote gains: its Brier score is the members' mean less the ambiguity (Krogh
    and Vedelsby 1995).
    """
    apart = probabilities.astype(np.float64)
    apart = apart - apart.mean(axis=0)
    return float(np.square(apart).sum(axis=2).mean())
