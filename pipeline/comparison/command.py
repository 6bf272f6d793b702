"""``python -m pipeline compare RUN RUN ...``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline import console
from pipeline.comparison import page, terminal
from pipeline.comparison.finding import Finder
from pipeline.comparison.outcome import Outcome, pooled
from pipeline.comparison.pairs import compare_all, spreads
from pipeline.errors import ComparisonError
from pipeline.tracking.ui import settings

PAGE = Path("reports/compare.html")


def compare(
    runs: Sequence[str], *, summary: bool = False, pool: bool = False, out: Path = PAGE
) -> None:
    """Print runs side by side, and write the page.

    Args:
        runs: What :meth:`Finder.find` takes.
        summary: Also the mean and the deviation of each measure.
        pool: Runs of one pattern count as one, as the folds of a cross-validation do.
        out: The page.

    Raises:
        ComparisonError: There is no such run, or only one.
    """
    finder = Finder(*settings())
    found = [finder.find(run) for run in runs]
    if pool:
        found = [
            [pooled(many, run)] if len(many) > 1 else many
            for run, many in zip(runs, found, strict=True)
        ]
    outcomes = distinct([outcome for many in found for outcome in many])
    if len(outcomes) < 2:
        raise ComparisonError(
            f"Expected two runs or more to compare, got {len(outcomes)}: {', '.join(runs)}. "
            "dvc exp show and make ui list them."
        )
    show(outcomes, summary=summary, out=out)


def show(outcomes: Sequence[Outcome], *, summary: bool, out: Path = PAGE) -> None:
    """The same of runs that were found."""
    pairs = compare_all(outcomes)
    spread = spreads(outcomes) if summary else []
    terminal.report(outcomes, pairs, spread)
    page.write(outcomes, pairs, spread, out)
    console.say(f"Wrote {out}.")


def distinct(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The same with names that differ: numbered where they would not."""
    many, seen, told = Counter(outcome.name for outcome in outcomes), Counter[str](), []
    for outcome in outcomes:
        seen[outcome.name] += 1
        number = f" ({seen[outcome.name]})" if many[outcome.name] > 1 else ""
        told.append(replace(outcome, name=outcome.name + number))
    return told
