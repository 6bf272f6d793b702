"""Two ways of doing the same, timed in turn, so that a drifting machine slows both alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True)
class Ratio:
    """How much faster ``ours`` is than ``other``: pair by pair."""

    name: str
    pairs: tuple[float, ...]  # seconds of the other way / seconds of ours
    ours: float  # median seconds
    other: float

    @property
    def row(self) -> str:
        """A line of the table in RESULTS.md."""
        low, middle, high = min(self.pairs), statistics.median(self.pairs), max(self.pairs)
        return (
            f"| {self.name} | {middle:.2f} | {low:.2f} to {high:.2f} "
            f"| {self.ours:.2f} s | {self.other:.2f} s |"
        )


def compare(
    name: str, ours: Callable[[], object], other: Callable[[], object], *, pairs: int = 5
) -> Ratio:
    """Time both in turn, after one run of each that does not count."""
    seconds = [(_seconds(ours), _seconds(other)) for _ in range(pairs + 1)][1:]
    return Ratio(
        name,
        tuple(second / first for first, second in seconds),
        statistics.median(first for first, _ in seconds),
        statistics.median(second for _, second in seconds),
    )


def _seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start
