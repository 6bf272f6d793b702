"""Two ways of doing the same, timed in turn, so that a drifting machine slows both alike."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TypeAlias


@dataclass(frozen=True)
class Bar:
    """What a ratio must reach: no less, no more, or both."""

    least: float = 0.0
    most: float = math.inf

    def met(self, ratio: float) -> bool:
        """Whether a ratio reaches it."""
        return self.least <= ratio <= self.most

    def __str__(self) -> str:
        if not math.isfinite(self.most):
            return f"{self.least:.2f} or more"
        return (
            f"{self.most:.2f} or less" if not self.least else f"{self.least:.2f} to {self.most:.2f}"
        )


@dataclass(frozen=True)
class Ratio:
    """What was measured side by side, pair by pair, and the bar that their median must reach."""

    name: str
    pairs: tuple[float, ...]
    bar: Bar
    ours: str  # what the two were, in words
    other: str

    @property
    def row(self) -> str:
        """A line of the table in RESULTS.md."""
        low, middle, high = min(self.pairs), statistics.median(self.pairs), max(self.pairs)
        verdict = "yes" if self.bar.met(middle) else "**no**"
        return (
            f"| {self.name} | {middle:.2f} | {self.bar} | {verdict} | {low:.2f} to {high:.2f} "
            f"| {self.ours} | {self.other} |"
        )


@dataclass(frozen=True)
class LeftOut:
    """What could not be measured here, and why."""

    name: str
    bar: Bar
    reason: str

    @property
    def row(self) -> str:
        """A line of the table in RESULTS.md."""
        return f"| {self.name} | left out: {self.reason} | {self.bar} | | | | |"


Row: TypeAlias = Ratio | LeftOut


def compare(
    name: str,
    ours: Callable[[], object],
    other: Callable[[], object],
    bar: Bar,
    *,
    tiles: tuple[int, int] | None = None,
    longer: bool = False,
    pairs: int = 5,
) -> Ratio:
    """How much faster ours is: both timed in turn, after one run of each that does not count.

    Args:
        name: Of the measure.
        ours: One way.
        other: The other.
        bar: What the ratio must reach.
        tiles: That each way trains on, where that differs or tiles a second say more.
        longer: How much longer ours takes instead.
        pairs: How many.
    """
    seconds = [(_seconds(ours), _seconds(other)) for _ in range(pairs + 1)][1:]
    amounts = tiles or (1, 1)
    speeds = [
        [amount / time for amount, time in zip(amounts, pair, strict=True)] for pair in seconds
    ]
    first, second = ([pair[way] for pair in speeds] for way in (0, 1))
    quotients = tuple(b / a if longer else a / b for a, b in speeds)
    return Ratio(name, quotients, bar, *(_told(way, tiles is not None) for way in (first, second)))


def _told(speeds: Sequence[float], of_tiles: bool) -> str:
    middle = statistics.median(speeds)
    return f"{middle:,.0f} tiles/s" if of_tiles else f"{1 / middle:.2f} s"


def _seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start
