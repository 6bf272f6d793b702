"""The comparison as text and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline import console
from pipeline.baselines import NAMES
from pipeline.comparison.outcome import Outcome, differing
from pipeline.comparison.pairs import Pair, Spread

if TYPE_CHECKING:
    from rich.table import Table

LONG = 60  # letters of a value that a table shows
WORDS = {
    "kappa": "Cohen's kappa",
    "matthews": "Matthews correlation",
    "top2_accuracy": "top-2 accuracy",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
    "ece": "calibration error",
    "aurc": "area under risk over coverage",
    "macro_auc": "macro area under ROC",
}


def label(measure: str) -> str:
    """A measure in words."""
    return WORDS.get(measure, measure.replace("_", " ").replace("f1", "F1"))


def parameters(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Rows of a table: a parameter that differs, and its value in each run."""
    rows = [[key, *values] for key, values in differing(outcomes).items()]
    return [[cell if len(cell) <= LONG else cell[: LONG - 3] + "..." for cell in r] for r in rows]


def measures(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """Rows of a table: a measure, and its value in each run with its interval if it has one."""
    names = dict.fromkeys(name for outcome in outcomes for name in outcome.figures)
    rows = [["tiles", *(f"{outcome.measures['n']:,}" for outcome in outcomes)]]
    rows += [[label(name), *(value(outcome, name) for outcome in outcomes)] for name in names]
    for method, called in NAMES.items():
        cells = [baseline(outcome, method) for outcome in outcomes]
        rows += [[f"without a network: {called}", *cells]] if any(cells) else []
    return rows


def value(outcome: Outcome, name: str) -> str:
    """A measure of a run."""
    if name not in outcome.figures:
        return ""
    ends = outcome.interval(name)
    interval = f" ({ends[0]:.4f} to {ends[1]:.4f})" if ends else ""
    return f"{outcome.figures[name]:.4f}{interval}"


def baseline(outcome: Outcome, method: str) -> str:
    """Accuracy of a method without a network, where it was measured on tiles of the run."""
    summary = outcome.baselines
    if not summary or summary.get("n") != outcome.measures["n"]:
        return ""
    measured = summary["methods"].get(method)
    return f"{measured['accuracy']:.4f}" if measured else ""


def report(outcomes: Sequence[Outcome], pairs: Sequence[Pair], spread: Sequence[Spread]) -> None:
    """Print all of it."""
    for outcome in outcomes:
        console.say(f"{outcome.name}: {outcome.origin}")
    names = [outcome.name for outcome in outcomes]
    if rows := parameters(outcomes):
        console.table(_table("parameters that differ", names, rows, right=False))
    console.table(_table("measured", names, measures(outcomes)))
    if spread:
        console.table(_spreads(spread, len(outcomes)))
    for sentence in sentences(pairs):
        console.say(sentence)


def sentences(pairs: Sequence[Pair]) -> list[str]:
    """What is to say of the pairs; in one sentence where no two runs can be compared."""
    if len(pairs) > 1 and not any(pair.result for pair in pairs):
        return ["The runs were measured on different tiles, so there are no pairs to compare."]
    told = [f"{pair.sentence} {pair.note}".rstrip() for pair in pairs]
    compared = sum(pair.result is not None for pair in pairs)
    if compared > 1:
        told.append(f"P-values are corrected for {compared} pairs (Holm).")
    return told


def _table(
    title: str, names: Sequence[str], rows: Sequence[Sequence[str]], *, right: bool = True
) -> Table:
    from rich.table import Table

    out = Table(title)
    for name in names:
        out.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in rows:
        out.add_row(*row)
    return out


def _spreads(spread: Sequence[Spread], runs: int) -> Table:
    from rich.table import Table

    out = Table(f"{runs} runs")
    for heading in ("mean", "deviation", "lowest", "highest"):
        out.add_column(heading, justify="right")
    for row in spread:
        cells = (row.mean, row.deviation, row.low, row.high)
        out.add_row(label(row.name), *(f"{cell:.4f}" for cell in cells))
    return out
