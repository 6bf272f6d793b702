"""Measure what plain statistics of a tile tell of its class, on the tiles of the network."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import baselines, console
from pipeline.answers import measured
from pipeline.baselines import NAMES, Labels
from pipeline.errors import StoreError
from pipeline.places import Places
from pipeline.store import ROOT, Store

if TYPE_CHECKING:
    from pipeline.schema import BaselineSection, EngineSection, EvaluateSection

MEASURES = Path("reports/baseline.json")
PREDICTIONS = Path("reports/baseline.csv")
CHUNK = 4096  # tiles in memory
NOTHING = (
    "The tiles have no labels: there is nothing that statistics could tell, and nothing to compare."
)


def run(baseline: BaselineSection, evaluate: EvaluateSection, engine: EngineSection) -> None:
    """Write each method's measures, and what it finds of every tile."""
    start = perf_counter()
    store = Store.open(ROOT)
    MEASURES.parent.mkdir(parents=True, exist_ok=True)
    if not len(store.classes):
        console.say(NOTHING)
        write({}, store, evaluate.split, {})
        return
    if not store.count(evaluate.split):
        raise StoreError(
            f"Expected tiles in the {evaluate.split} split, got none. See split.{evaluate.split}."
        )
    answers, learned = predict(store, evaluate.split, baseline, engine.threads)
    summary = measure(store, evaluate, answers, learned)
    write(summary, store, evaluate.split, answers)
    report(summary)
    console.say(f"{learned:,} tiles to learn from, {perf_counter() - start:.1f} s.")


def predict(
    store: Store, split: str, baseline: BaselineSection, threads: int | None
) -> tuple[dict[str, Labels], int]:
    """Labels (M,) of a split's tiles by each method, and how many tiles it learned from."""
    labels = store.labels("train")
    rows = baselines.chosen(labels, baseline.most, baseline.seed)
    found = baselines.predictions(
        _features(store, "train", rows),
        labels[rows],
        _features(store, split, np.arange(store.count(split))),
        trees=baseline.trees,
        seed=baseline.seed,
        threads=threads,
    )
    return dict(found), len(rows)


def _features(store: Store, split: str, rows: NDArray[np.int64]) -> baselines.Features:
    """Statistics (N, F) of some tiles of a split, never all of their pixels at once."""
    parts = np.array_split(rows, 1 + len(rows) // CHUNK)
    return np.concatenate([baselines.features(store.pixels(split, part)) for part in parts])


def measure(
    store: Store, evaluate: EvaluateSection, answers: Mapping[str, Labels], learned: int
) -> dict[str, Any]:
    """Everything that ``baseline.json`` holds; intervals over places, as the network's."""
    split = evaluate.split
    places = Places.of(store.index, store.split_range(split), evaluate.places)
    actual = store.labels(split)
    return {
        "split": split,
        "n": len(actual),
        "learned_from": learned,
        "features": baselines.feature_names(store.bands),
        "methods": {
            name: measured(actual, found, store.classes, places) for name, found in answers.items()
        },
    }


def write(
    summary: Mapping[str, Any], store: Store, split: str, answers: Mapping[str, Labels]
) -> None:
    """Write the measures as JSON, and a row a tile; of tiles without labels nothing but headers."""
    text = json.dumps(summary, indent=2, allow_nan=False)
    MEASURES.write_text(text + "\n", encoding="utf-8")
    names = np.array(store.classes.names)
    rows = store.split_range(split)
    found = [store.labels(split), *answers.values()] if answers else []
    columns = [store.index["id"].iloc[rows.start : rows.stop], *(names[part] for part in found)]
    with PREDICTIONS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tile_id", "actual", *(answers or NAMES)))
        writer.writerows(zip(*columns, strict=True) if answers else ())


def report(summary: Mapping[str, Any]) -> None:
    """Print the methods."""
    from rich.table import Table

    out = Table("without a network")
    for heading in ("accuracy", "balanced", "macro F1"):
        out.add_column(heading, justify="right")
    for name, values in summary["methods"].items():
        shares = (values[key] for key in ("accuracy", "balanced_accuracy", "macro_f1"))
        out.add_row(NAMES[name], *(f"{share:.4f}" for share in shares))
    console.table(out)
