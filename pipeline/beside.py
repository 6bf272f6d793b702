"""The network beside what plain statistics give: a row each, and whether it is more than luck."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console, paired
from pipeline.answers import Answers, labels, units
from pipeline.baselines import NAMES
from pipeline.kept import baselines_of, columns_of, torn

if TYPE_CHECKING:
    from rich.table import Table

MEASURES = ("accuracy", "balanced_accuracy", "macro_f1")


@dataclass(frozen=True, slots=True)
class Baseline:
    """A method without a network, and how the network does beside it."""

    name: str
    accuracy: float
    interval: tuple[float, float] | None  # of the accuracy
    balanced_accuracy: float
    macro_f1: float
    difference: paired.Difference  # of the network's accuracy less this one's
    p: float  # corrected for the number of methods
    verdict: str  # a sentence

    @property
    def lead(self) -> str:
        """The network's lead in points, with its interval."""
        value, low, high = (100 * part for part in self.difference)
        return f"{value:+.1f}" + ("" if math.isnan(low) else f" ({low:+.1f} to {high:+.1f})")


def rows(reports: Path) -> list[Baseline]:
    """The methods of ``baseline.json``; none where it, or what the network answered, is missing.

    None either where the two were measured on other tiles, or the network tells no classes.

    Raises:
        ComparisonError: One of the files is torn.
    """
    measures, answers = reports / "baseline.json", reports / "baseline.csv"
    predictions = reports / "predictions.csv"
    if not all(path.is_file() for path in (measures, answers, predictions)):
        return []
    summary = baselines_of(measures, (*MEASURES, "accuracy_ci95"))
    if "predicted" not in columns_of(predictions) or not summary:
        return []
    probabilities = reports / "probabilities.parquet"
    network = Answers.read(predictions, probabilities if probabilities.is_file() else None)
    columns = columns_of(answers)
    if "tile_id" not in columns:
        raise torn(answers, "a column tile_id", "none")
    if network.ids.tolist() != columns["tile_id"].tolist():
        return []
    methods = [name for name in summary["methods"] if name in columns]
    actual, found, *others = labels(
        [network.actual, network.predicted, *(columns[name] for name in methods)]
    )
    pairs = [paired.compare(actual, found, other, units(network.places)) for other in others]
    corrected = paired.holm([pair.p for pair in pairs])
    return [
        _row(name, summary["methods"][name], pair, p)
        for name, pair, p in zip(methods, pairs, corrected, strict=True)
    ]


def _row(method: str, measures: dict[str, Any], pair: paired.Paired, p: float) -> Baseline:
    name = NAMES.get(method, method)
    accuracy, balanced, macro_f1 = (float(measures[key]) for key in MEASURES)
    ends = measures["accuracy_ci95"]
    sentence = paired.verdict("the network", f"the {name}", pair, p)
    verdict = sentence[0].upper() + sentence[1:]
    return Baseline(
        name, accuracy, tuple(ends) if ends else None, balanced, macro_f1, pair.accuracy, p, verdict
    )


def flat(found: Sequence[Baseline]) -> dict[str, float]:
    """Numbers by names such as ``baseline_random_forest_accuracy``, for MLflow."""
    return {
        f"baseline_{row.name.replace(' ', '_')}_{key}": getattr(row, key)
        for row in found
        for key in MEASURES
    }


def report(network: str, summary: dict[str, Any], found: Sequence[Baseline]) -> None:
    """Print the network and the methods, a row each."""
    if not found:
        return
    console.table(table(network, summary, found))
    console.say(best(found).verdict)


def best(found: Sequence[Baseline]) -> Baseline:
    """The method that comes closest to the network."""
    return max(found, key=lambda row: row.accuracy)


def table(network: str, summary: dict[str, Any], found: Sequence[Baseline]) -> Table:
    """As a table for the terminal."""
    from rich.table import Table

    out = Table("what tells the classes")
    for heading in ("accuracy", "balanced", "macro F1", "network's lead, points"):
        out.add_column(heading, justify="right")
    out.add_row(network, *(f"{summary[key]:.4f}" for key in MEASURES), "")
    for row in found:
        out.add_row(row.name, *(f"{getattr(row, key):.4f}" for key in MEASURES), row.lead)
    return out
