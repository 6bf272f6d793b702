"""Each two of several runs on the tiles that both were measured on; arrays in, sentences out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import paired
from pipeline.answers import Answers, Names, labels, units
from pipeline.comparison.outcome import Outcome
from pipeline.paired import Paired

MOST = 8  # tiles of a kind that are shown


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A tile that two runs answer differently."""

    tile: str
    actual: str
    answers: tuple[str, str]
    confidence: tuple[float, float]
    right: Literal["first", "second", "neither"]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs, by their places in the list, and what is to say of them."""

    first: int
    second: int
    sentence: str
    result: Paired | None = None  # None: they can't be compared
    p: float = 1.0  # corrected for the number of pairs
    note: str = ""
    disagreements: tuple[Disagreement, ...] = ()

    @property
    def differ(self) -> bool:
        """Whether one is better by more than luck."""
        return self.result is not None and paired.differs(self.result, self.p)


def compare_all(outcomes: Sequence[Outcome]) -> list[Pair]:
    """Every pair, with p-values corrected for their number."""
    pairs = [_pair(outcomes, i, k) for i, k in combinations(range(len(outcomes)), 2)]
    done = [pair for pair in pairs if pair.result is not None]
    corrected = iter(paired.holm([pair.result.p for pair in done if pair.result]))
    return [
        pair if pair.result is None else _judged(pair, pair.result, outcomes, next(corrected))
        for pair in pairs
    ]


def _judged(pair: Pair, result: Paired, outcomes: Sequence[Outcome], p: float) -> Pair:
    names = outcomes[pair.first].name, outcomes[pair.second].name
    return replace(pair, p=p, sentence=paired.verdict(*names, result, p))


def _pair(outcomes: Sequence[Outcome], i: int, k: int) -> Pair:
    one, other = outcomes[i], outcomes[k]
    if one.answers is None or other.answers is None:
        without = one.name if one.answers is None else other.name
        return Pair(i, k, f"No telling: {without} kept no answers (predictions.csv).")
    same_data = bool(one.data_digest) and one.data_digest == other.data_digest
    ids, note = _common(one.answers, other.answers, same_data)
    if not len(ids):
        return Pair(i, k, f"No telling between {one.name} and {other.name}: {note}")
    first, second = one.answers.rows(ids), other.answers.rows(ids)
    actual, *found = labels([first.actual, first.predicted, second.predicted])
    places = second.places if first.places is None else first.places
    result = paired.compare(actual, found[0], found[1], units(places))
    return Pair(i, k, "", result, result.p, note, tuple(disagreements(first, second)))


def _common(first: Answers, second: Answers, same_data: bool) -> tuple[Names, str]:
    """Tiles to compare on, and what is to say of them; none, and why.

    A name stands for one tile within the same data; without a digest that says so, where all names
    and classes are the same.
    """
    ids = first.ids[np.isin(first.ids, second.ids)]
    whole = len(ids) == len(first) == len(second)
    if not len(ids) or not (whole or same_data):
        return ids[:0], (
            f"they were measured on other tiles, {len(first):,} and {len(second):,}, of which "
            f"{len(ids):,} have the same name."
        )
    if (first.rows(ids).actual != second.rows(ids).actual).any():
        return ids[:0], "tiles of the same name have other classes in one than in the other."
    if not whole:
        return ids, f"On the {len(ids):,} tiles of both, of {len(first):,} and {len(second):,}."
    return ids, "" if same_data else "They learned from other tiles, and were measured on the same."


def disagreements(first: Answers, second: Answers) -> list[Disagreement]:
    """Tiles of three kinds, a few of each, those first where an error was made with confidence."""
    differ = first.predicted != second.predicted
    right = [answers.predicted == answers.actual for answers in (first, second)]
    surest = np.where(right[0], second.confidence, first.confidence)
    kinds: tuple[tuple[Literal["first", "second", "neither"], NDArray[np.bool_]], ...] = (
        ("first", differ & right[0]),
        ("second", differ & right[1]),
        ("neither", differ & ~right[0] & ~right[1]),
    )
    return [
        Disagreement(
            str(first.ids[row]),
            str(first.actual[row]),
            (str(first.predicted[row]), str(second.predicted[row])),
            (float(first.confidence[row]), float(second.confidence[row])),
            kind,
        )
        for kind, wanted in kinds
        for row in sorted(np.flatnonzero(wanted), key=lambda row: -np.nan_to_num(surest[row]))[
            :MOST
        ]
    ]


@dataclass(frozen=True, slots=True)
class Spread:
    """A measure over several runs."""

    name: str
    mean: float
    deviation: float  # of the runs, not of the mean
    low: float
    high: float
    values: tuple[float, ...]


def spreads(outcomes: Sequence[Outcome]) -> list[Spread]:
    """Every measure that all runs have."""
    shared = [name for name in outcomes[0].figures if all(name in o.figures for o in outcomes)]
    found = []
    for name in shared:
        values = np.array([outcome.figures[name] for outcome in outcomes])
        deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        low, high = float(values.min()), float(values.max())
        found.append(Spread(name, float(values.mean()), deviation, low, high, tuple(values)))
    return found
