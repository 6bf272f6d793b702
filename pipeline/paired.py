"""Whether one classifier is better than another on the same tiles, or only luckier.

Tiles of one place are not independent: they count as one unit in the interval (a bootstrap that
draws whole units) and in the p-value (a test that flips the signs of whole units). Where each tile
is a unit of its own, the test is McNemar's with the mid-p of Fagerland et al. (2013, doi
10.1186/1471-2288-13-91).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ClassError

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]

RESAMPLES = 4000
FLIPS = 10_000
ALL_FLIPS = 12  # units of which every pattern of signs is looked at
CHUNK = 2**22  # numbers drawn at once
LEVEL = 0.05


class Difference(NamedTuple):
    """The first less the second, with its 95 % interval; nan where there is no telling."""

    value: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether zero is outside the interval."""
        return self.low > 0 or self.high < 0


class McNemar(NamedTuple):
    """Two-sided p-values of as many tiles won as lost, each tile on its own."""

    exact: float
    mid: float


@dataclass(frozen=True, slots=True)
class Paired:
    """Two classifiers on the same tiles."""

    tiles: int
    units: int  # independent of each other: places, or the tiles themselves
    both: int  # tiles that both got right
    first_alone: int
    second_alone: int
    neither: int
    accuracy: Difference
    macro_f1: Difference
    mcnemar: McNemar
    p: float  # the mid-p of the units; McNemar's where each tile is one


def compare(
    actual: Codes,
    first: Codes,
    second: Codes,
    units: Codes | None = None,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Paired:
    """Compare predictions (N,) of the same tiles; to swap them swaps the signs and no more.

    Args:
        actual: Labels (N,) from 0.
        first: Predicted labels (N,).
        second: Those of the other classifier.
        units: What each tile (N,) belongs to; None: every tile is a unit.
        resamples: Of the bootstrap.
        seed: Of what is drawn.

    Raises:
        ClassError: The arrays differ in length, or are empty.
    """
    if not len(actual) == len(first) == len(second) > 0:
        raise ClassError(
            f"Expected two predictions of each of {len(actual)} tiles, got {len(first)} and "
            f"{len(second)}."
        )
    wins, losses = (first == actual) & (second != actual), (first != actual) & (second == actual)
    mcnemar = mcnemar_p(int(wins.sum()), int(losses.sum()))
    alone = units is None or len(np.unique(units)) == len(units)
    own = np.arange(len(actual)) if units is None else np.unique(units, return_inverse=True)[1]
    won = wins.astype(np.int64) - losses
    accuracy, macro_f1 = _differences(actual, first, second, own, resamples, seed)
    return Paired(
        tiles=len(actual),
        units=int(own.max()) + 1,
        both=int(((first == actual) & (second == actual)).sum()),
        first_alone=int(wins.sum()),
        second_alone=int(losses.sum()),
        neither=int(((first != actual) & (second != actual)).sum()),
        accuracy=accuracy,
        macro_f1=macro_f1,
        mcnemar=mcnemar,
        p=mcnemar.mid if alone else flip_p(np.bincount(own, won).astype(np.float64), seed),
    )


def mcnemar_p(wins: int, losses: int) -> McNemar:
    """McNemar's test by the binomial distribution (McNemar 1947; mid-p: Lancaster 1961)."""
    from scipy.stats import binom

    total, fewer = wins + losses, min(wins, losses)
    if not total:
        return McNemar(1.0, 1.0)
    at, upto = float(binom.pmf(fewer, total, 0.5)), float(binom.cdf(fewer, total, 0.5))
    mid = 1 - at / 2 if wins == losses else 2 * upto - at
    return McNemar(min(1.0, 2 * upto), mid)


def flip_p(won: Floats, seed: int = 0) -> float:
    """Two-sided mid-p of sums (U,) over units whose signs chance alone would give.

    Under the hypothesis that the two are alike, which is which could be swapped in any unit.
    """
    known = won[won != 0]
    if not len(known):
        return 1.0
    at_least, tied, count = 0, 0, 0
    for signs in _signs(len(known), seed):
        sums = np.abs(signs @ known)
        beyond = sums > abs(known.sum())
        at_least += int(beyond.sum())
        tied += int((sums == abs(known.sum())).sum())
        count += len(signs)
    if len(known) > ALL_FLIPS:  # what was seen is a pattern too
        tied, count = tied + 1, count + 1
    return (at_least + tied / 2) / count


def _signs(units: int, seed: int) -> Iterator[Floats]:
    """Patterns (P, U) of plus and minus one: all of them, or as many as are drawn."""
    if units <= ALL_FLIPS:
        codes = np.arange(2**units)
        yield _plus_or_minus((codes[:, None] >> np.arange(units)) & 1)
        return
    random = np.random.default_rng(seed)
    for count in _chunks(FLIPS, units):
        yield _plus_or_minus(random.integers(0, 2, (count, units), dtype=np.int8))


def _plus_or_minus(bits: NDArray[Any]) -> Floats:
    return 1.0 - 2.0 * bits.astype(np.float64)


def _chunks(total: int, width: int) -> Iterator[int]:
    step = max(1, CHUNK // width)
    for start in range(0, total, step):
        yield min(step, total - start)


def _differences(
    actual: Codes, first: Codes, second: Codes, units: Codes, resamples: int, seed: int
) -> tuple[Difference, Difference]:
    """Accuracy and macro F1, the first's less the second's.

    Tiles count by their pattern (actual, first, second), of which there are few: a resample is a
    row of counts, not a list of tiles.
    """
    classes = int(max(actual.max(), first.max(), second.max())) + 1
    keys = (actual * classes + first) * classes + second
    # In the order of the tiles, so that the same is drawn for the two swapped.
    _, where, pattern = np.unique(keys, return_index=True, return_inverse=True)
    pattern, where = np.argsort(np.argsort(where))[pattern], np.sort(where)
    cells = [actual[where] * classes + answer[where] for answer in (first, second)]
    value = _measured(np.bincount(pattern)[None], cells, classes)[0]
    low, high = _interval(pattern, units, cells, classes, resamples, seed)
    found = [Difference(*map(float, facts)) for facts in zip(value, low, high, strict=True)]
    return found[0], found[1]


def _interval(
    pattern: Codes, units: Codes, cells: Sequence[Codes], classes: int, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Ends (2,) of the intervals of accuracy and macro F1, from a bootstrap over units."""
    count, patterns = int(units.max()) + 1, len(cells[0])
    if count < 2:
        return np.full(2, math.nan), np.full(2, math.nan)
    if count == len(pattern):  # units of one pattern are alike: draw how many of each
        table, share = np.eye(patterns), np.bincount(pattern) / count
    else:
        table, share = np.zeros((count, patterns)), np.full(count, 1 / count)
        np.add.at(table, (units, pattern), 1)
    random = np.random.default_rng(seed)
    drawn = [
        _measured(random.multinomial(count, share, size) @ table, cells, classes)
        for size in _chunks(resamples, max(len(share), patterns, classes**2))
    ]
    low, high = np.quantile(np.concatenate(drawn), levels(count), axis=0)
    return low, high


def levels(units: int) -> tuple[float, float]:
    """Quantiles of a percentile interval that few units don't make too narrow.

    Hesterberg (2015, doi 10.1080/00031305.2015.1089789): as far out as Student's t is.
    """
    from scipy.stats import norm, t

    reach = math.sqrt(units / (units - 1)) * float(t.ppf(1 - LEVEL / 2, units - 1))
    return float(norm.cdf(-reach)), float(norm.cdf(reach))


def _measured(totals: NDArray[Any], cells: Sequence[Codes], classes: int) -> Floats:
    """Differences (R, 2) of accuracy and macro F1 from counts (R, P) of each pattern."""
    both = []
    for cell in cells:
        place = np.zeros((len(cell), classes**2))
        place[np.arange(len(cell)), cell] = 1
        counts = (totals @ place).reshape(-1, classes, classes)
        right = np.diagonal(counts, axis1=1, axis2=2)
        true = counts.sum(axis=2)
        sizes = true + counts.sum(axis=1)
        f1 = 2 * right / np.maximum(sizes, 1)
        present = true > 0
        macro = (f1 * present).sum(axis=1) / present.sum(axis=1)
        both.append(np.stack([right.sum(axis=1) / true.sum(axis=1), macro], axis=1))
    return np.asarray(both[0] - both[1])


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the order given."""
    order = sorted(range(len(p)), key=p.__getitem__)
    corrected, most = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        most = max(most, min(1.0, (len(p) - rank) * p[place]))
        corrected[place] = most
    return corrected


def differs(pair: Paired, p: float) -> bool:
    """Whether it is more than luck: by the p-value, corrected, and by the interval."""
    return p < LEVEL and pair.accuracy.is_clear


def verdict(first: str, second: str, pair: Paired, p: float) -> str:
    """What a person should know, in a sentence.

    Args:
        first: Name of the first.
        second: Name of the second.
        pair: How they did.
        p: ``pair.p``, corrected for the number of pairs.
    """
    value, low, high = (100 * part for part in pair.accuracy)
    if not differs(pair, p):
        judged = "No difference beyond chance between"
        if 0.5**pair.units >= LEVEL:  # a win in every unit would leave p above the bar
            judged = f"{pair.units} {_places(pair)} too few to tell between"
        return (
            f"{judged} {first} and {second}: {value:+.1f} points of accuracy{_between(low, high)}, "
            f"{shown(p)}."
        )
    if value < 0:
        first, second, value, low, high = second, first, -value, -high, -low
    return (
        f"{first} is better than {second} by {value:.1f} points of accuracy{_between(low, high)}, "
        f"{shown(p)}."
    )


def _between(low: float, high: float) -> str:
    return "" if math.isnan(low) else f", 95 % interval {low:.1f} to {high:.1f}"


def _places(pair: Paired) -> str:
    what = "tile" if pair.units == pair.tiles else "place"
    return f"{what} is" if pair.units == 1 else f"{what}s are"


def shown(p: float) -> str:
    """A p-value in words."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
