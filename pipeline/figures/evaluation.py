"""All figures of a classifier's evaluation, in the order in which they are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from matplotlib.figure import Figure

from pipeline.assessment import before_scaling
from pipeline.breakdown import Row
from pipeline.calibration import Reliability
from pipeline.figures import ensembles, measures, scores
from pipeline.measuring import Measurement
from pipeline.rejection import Coverage


def figures_of(
    measured: Measurement, summary: dict[str, Any], rows: list[Row], split: str
) -> Iterator[tuple[str, Figure]]:
    """Names of files, without their ending, and figures."""
    evidence, counts = measured.evidence, measured.counts
    tiles = f"{len(evidence.ids):,} {split} tiles"
    yield "confusion", measures.confusion(counts, evidence.classes, f"Confusion, {tiles}")
    yield "per_class", measures.per_class(counts, evidence.classes, f"Each class, {tiles}")
    of_class = {
        name: [row[name] for row in summary["per_class"].values()]
        for name in ("auc", "average_precision")
    }
    yield "roc", scores.roc(evidence, of_class["auc"], f"ROC of each class, {tiles}")
    values = of_class["average_precision"]
    title = f"Precision and recall of each class, {tiles}"
    yield "precision_recall", scores.precision_recall(evidence, values, title)
    raw = before_scaling(evidence, summary["temperature"])
    yield (
        "reliability",
        scores.reliability(
            (Reliability.of(raw, evidence.actual), summary["before_scaling"]["ece"]),
            (Reliability.of(evidence.probabilities, evidence.actual), summary["ece"]),
            summary["temperature"],
            f"Reliability, {tiles}",
        ),
    )
    threshold = (summary.get("reject") or {}).get("threshold")
    curve = Coverage.of(evidence.confidence, evidence.hits)
    yield "coverage", scores.coverage(curve, f"Accuracy over coverage, {tiles}", threshold)
    if "ensemble" in summary:
        found, drawn = summary["ensemble"], summary["interval"]
        over = f"{drawn['places']:,} {drawn['over']}"
        title = f"{len(found['members'])} members and their votes, {tiles}"
        yield "ensemble", ensembles.ensemble(found, over, found["vote"], title)
    if rows:
        yield "groups", scores.groups(rows, summary["accuracy"], f"By scene or place, {tiles}")
