"""The files that ``evaluate`` writes, and the names that MLflow gets its numbers under."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import ballots
from pipeline.breakdown import Row
from pipeline.evidence import Evidence
from pipeline.evidence import write as write_evidence
from pipeline.metrics import DIGITS, Counts
from pipeline.types import Classes

METRICS = "metrics.json"
CONFUSION = "confusion.csv"
PREDICTIONS = "predictions.csv"
PROBABILITIES = "probabilities.parquet"
GROUPS = "groups.csv"
FIGURES = "figures"
FILES = (METRICS, CONFUSION, PREDICTIONS, PROBABILITIES, GROUPS)
TABLES = ("per_class", "per_band")  # of metrics.json: name -> measure -> value


def write(summary: dict[str, Any], evidence: Evidence, rows: Sequence[Row], folder: Path) -> None:
    """Write everything that is not a figure."""
    write_metrics(summary, folder / METRICS)
    write_confusion(evidence.counts, evidence.classes, folder / CONFUSION)
    write_predictions(evidence, folder / PREDICTIONS)
    write_groups(rows, folder / GROUPS)
    write_evidence(evidence, folder / PROBABILITIES)


def write_metrics(summary: dict[str, Any], path: Path) -> None:
    """Write the measures as JSON, null for what is undefined."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_confusion(counts: Counts, classes: Classes, path: Path) -> None:
    """Rows true, columns predicted, under a header of class names."""
    _write(path, classes, counts.tolist())


def write_predictions(evidence: Evidence, path: Path) -> None:
    """A row a tile; ``dvc plots`` draws its confusion template from it."""
    names = np.array(evidence.classes.names)
    columns = (evidence.ids, names[evidence.actual], names[evidence.predicted])
    rows = zip(*columns, (f"{share:.6f}" for share in evidence.confidence), strict=True)
    _write(path, ("tile_id", "actual", "predicted", "confidence"), rows)


def write_errors(
    ids: Sequence[str], names: Sequence[str], errors: NDArray[np.float64], path: Path
) -> None:
    """A row a tile: its class, if it has one, and the error of its normalized pixels."""
    rows = zip(ids, names, (f"{error:.6f}" for error in errors), strict=True)
    _write(path, ("tile_id", "actual", "mse"), rows)


def write_groups(rows: Sequence[Row], path: Path) -> None:
    """A row a scene or place, the worst first: tiles, accuracy and its interval."""
    shares = ((round(v, DIGITS) for v in (row.accuracy, *row.reach)) for row in rows)
    lines = ((row.name, row.n, *share) for row, share in zip(rows, shares, strict=True))
    _write(path, ("group", "n", "accuracy", "low", "high"), lines)


def read_groups(path: Path) -> list[Row]:
    """What was written."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                row["group"],
                int(row["n"]),
                round(float(row["accuracy"]) * int(row["n"])),
                (float(row["low"]), float(row["high"])),
            )
            for row in csv.DictReader(file)
        ]


def _write(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _safe(name: str) -> str:
    """What MLflow takes in a name."""
    return re.sub(r"[^\w./ -]", "_", name)


def flat(summary: dict[str, Any], split: str) -> dict[str, float]:
    """Numbers by names such as ``test_accuracy``, ``test_recall/water``, ``test_rmse/nir``.

    What is undefined is left out, and so are the intervals of single classes: too many to look at.
    """
    values: dict[str, float | None] = {}
    for key, value in summary.items():
        if key in TABLES:
            for name, row in value.items():
                own = {m: v for m, v in row.items() if not isinstance(v, list)}
                values |= {f"{split}_{measure}/{_safe(name)}": v for measure, v in own.items()}
        elif key == "areas":
            values |= {
                f"{split}_{measure}/{_safe(name)}": row[measure]
                for name, row in value["per_class"].items()
                for measure in ("area", "area_error")
            }
        elif key == "before_scaling":
            values |= {f"{split}_{measure}_{key}": v for measure, v in value.items()}
        elif isinstance(value, list):
            values |= {f"{split}_{key}_low": value[0], f"{split}_{key}_high": value[1]}
        elif not isinstance(value, dict):
            values[f"{split}_{key}"] = value
    more = ballots.flat(summary["ensemble"], split) if "ensemble" in summary else {}
    assert values.keys().isdisjoint(more), "a number of the members would hide one of the whole"
    return {key: value for key, value in (values | more).items() if value is not None}
