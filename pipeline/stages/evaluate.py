"""Measure the trained network on tiles that it did not learn from."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import comparison, console, metrics, reconstruction
from pipeline.metrics import Counts
from pipeline.trained import Trained
from pipeline.types import Classes

if TYPE_CHECKING:
    from rich.table import Table

    from pipeline.schema import EngineSection, EvaluateSection, TrackingSection
    from pipeline.store import Store

REPORTS = Path("reports")
METRICS = REPORTS / "metrics.json"
CONFUSION = REPORTS / "confusion.csv"
PREDICTIONS = REPORTS / "predictions.csv"
FIGURES = REPORTS / "figures"
SHOWN = 8  # tiles of the figure of reconstructions


def run(evaluate: EvaluateSection, engine: EngineSection, tracking: TrackingSection) -> None:
    """Write the measures, and what was found of every tile."""
    trained = Trained.open(engine).heard(evaluate)
    shutil.rmtree(FIGURES, ignore_errors=True)  # of a network with another task
    task = reconstruct if trained.bundle.reconstructs else classify
    summary = task(trained, evaluate)
    record(summary, evaluate.split, trained, tracking)


def classify(trained: Trained, evaluate: EvaluateSection) -> dict[str, Any]:
    """Measures, confusion matrix and every tile's prediction."""
    store, classes = trained.store, trained.store.classes
    actual = store.labels(evaluate.split)
    members = trained.opinions(evaluate.split, evaluate.batch_size)
    votes = comparison.votes(members, trained.bundle.members) if members else {}
    probabilities = (
        votes[evaluate.vote]
        if members
        else trained.probabilities(evaluate.split, evaluate.batch_size)
    )
    counts = metrics.confusion(actual, probabilities.argmax(axis=1), len(classes))
    summary = measures(counts, probabilities, actual, classes)
    if members:
        found = comparison.compare(trained.bundle.members, members, votes, actual)
        summary["ensemble"] = {"vote": evaluate.vote, "tta": evaluate.tta, **found}
    write_metrics(summary)
    write_confusion(counts, classes)
    write_predictions(_ids(store, evaluate.split), actual, probabilities, classes)
    draw(counts, classes, evaluate.split)
    report(summary, counts, classes)
    if members:
        draw_ensemble(summary, evaluate.split)
        report_ensemble(summary["ensemble"])
    return summary


def reconstruct(trained: Trained, evaluate: EvaluateSection) -> dict[str, Any]:
    """Measures and every tile's error; of the confusion matrix there is the header alone."""
    store, split = trained.store, evaluate.split
    errors = trained.errors(split, evaluate.batch_size)
    summary = reconstruction.summarize(errors, trained.deviation, store.bands)
    of_tiles = errors.of_tiles(trained.deviation)
    write_metrics(summary)
    write_confusion(np.zeros((0, 0), np.int64), store.classes)
    write_errors(_ids(store, split), store.names(split), of_tiles)
    draw_reconstructions(trained, split, of_tiles)
    report_reconstruction(summary)
    return summary


def _ids(store: Store, split: str) -> list[str]:
    rows = store.split_range(split)
    ids: list[str] = store.index["id"].iloc[rows.start : rows.stop].tolist()
    return ids


def measures(
    counts: Counts, probabilities: NDArray[np.float32], actual: NDArray[np.int64], classes: Classes
) -> dict[str, Any]:
    """Everything that ``metrics.json`` holds, in its order."""
    summary = metrics.summarize(counts, classes)
    per_class = summary.pop("per_class")
    return summary | {
        "nll": metrics.rounded(metrics.nll(probabilities, actual)),
        "ece": metrics.rounded(metrics.ece(probabilities, actual)),
        "per_class": per_class,
    }


def write_metrics(summary: dict[str, Any], path: Path = METRICS) -> None:
    """Write the measures as JSON, null for what is undefined."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def write_confusion(counts: Counts, classes: Classes, path: Path = CONFUSION) -> None:
    """Rows true, columns predicted, under a header of class names."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(classes)
        writer.writerows(counts.tolist())


def write_predictions(
    ids: list[str],
    actual: NDArray[np.int64],
    probabilities: NDArray[np.float32],
    classes: Classes,
    path: Path = PREDICTIONS,
) -> None:
    """A row a tile; ``dvc plots`` draws its confusion template from it."""
    names = np.array(classes.names)
    confidence = probabilities.max(axis=1)
    rows = zip(
        ids, names[actual], names[probabilities.argmax(axis=1)], confidence.tolist(), strict=True
    )
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tile_id", "actual", "predicted", "confidence"))
        writer.writerows((tile, true, found, f"{share:.6f}") for tile, true, found, share in rows)


def write_errors(
    ids: list[str], names: list[str], errors: NDArray[np.float64], path: Path = PREDICTIONS
) -> None:
    """A row a tile: its class, if it has one, and the error of its normalized pixels."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("tile_id", "actual", "mse"))
        rows = zip(ids, names, errors.tolist(), strict=True)
        writer.writerows((tile, name, f"{error:.6f}") for tile, name, error in rows)


def draw(counts: Counts, classes: Classes, split: str, folder: Path = FIGURES) -> None:
    """Write the confusion matrix and the bars of each class."""
    from pipeline.figures import canvas, measures

    tiles = f"{int(counts.sum()):,} {split} tiles"
    canvas.save(
        measures.confusion(counts, classes, f"Confusion, {tiles}"), folder / "confusion.png"
    )
    canvas.save(
        measures.per_class(counts, classes, f"Each class, {tiles}"), folder / "per_class.png"
    )


def draw_ensemble(summary: dict[str, Any], split: str, folder: Path = FIGURES) -> None:
    """Write the accuracies of members and votes, and how pairs of members differ."""
    from pipeline.figures import canvas, ensembles

    found, tiles = summary["ensemble"], summary["n"]
    title = f"{len(found['members'])} members and their votes, {tiles:,} {split} tiles"
    canvas.save(ensembles.ensemble(found, tiles, found["vote"], title), folder / "ensemble.png")


def draw_reconstructions(
    trained: Trained, split: str, errors: NDArray[np.float64], folder: Path = FIGURES
) -> None:
    """Write tiles from the best drawn to the worst, and the errors of all."""
    from pipeline.figures import canvas, reconstructions

    rows = reconstruction.spread(errors, SHOWN)
    pixels = trained.store.pixels(split, np.array(rows))
    figure = reconstructions.pairs(
        pixels,
        trained.bundle.reconstructions(pixels, batch_size=len(pixels)),
        [f"{trained.store.names(split)[row]}\n{errors[row]:.3g}".strip() for row in rows],
        trained.store.bands,
        trained.deviation,
        f"From the best drawn to the worst of {len(errors):,} {split} tiles",
    )
    canvas.save(figure, folder / "reconstructions.png")
    title = f"Errors of {len(errors):,} {split} tiles"
    canvas.save(reconstructions.histogram(errors, title), folder / "errors.png")


def report_reconstruction(summary: dict[str, Any]) -> None:
    """Print the measures, band by band."""
    from rich.table import Table

    out = Table("band")
    keys = ("mse", "rmse", "r2", "psnr")
    for key in keys:
        out.add_column(key, justify="right")
    for name, values in summary["per_band"].items():
        out.add_row(name, *(_shown(values[key]) for key in keys))
    console.table(out)
    console.say(
        f"Mean squared error {_shown(summary['mse'])} of normalized pixels on {summary['n']:,} "
        f"tiles, share of variance drawn again {_shown(summary['r2'])}, peak signal-to-noise ratio "
        f"{_shown(summary['psnr'])} dB."
    )


def report_ensemble(found: dict[str, Any]) -> None:
    """Print each member, each vote, and how members differ."""
    from rich.table import Table

    headings = ("validation", "accuracy", "balanced", "macro F1", "nll", "ece")
    out = Table("member or vote")
    for heading in headings:
        out.add_column(heading, justify="right")
    for name, row in comparison.rows(found).items():
        out.add_row(name, *(_shown(row.get(key)) for key in comparison.COLUMNS))
    console.table(out)
    for sentence in comparison.sentences(found):
        console.say(sentence)


def report(summary: dict[str, Any], counts: Counts, classes: Classes) -> None:
    """Print the measures, the classes and the weakest of them."""
    console.table(table(summary))
    low, high = summary["accuracy_ci95"]
    console.say(
        f"Accuracy {summary['accuracy']:.4f} (95% interval {low:.4f} to {high:.4f}) on "
        f"{summary['n']:,} tiles, balanced {summary['balanced_accuracy']:.4f}, "
        f"macro F1 {summary['macro_f1']:.4f}, kappa {_shown(summary['kappa'])}."
    )
    if empty := [
        name for name, tiles in zip(classes, counts.sum(axis=1), strict=True) if not tiles
    ]:
        console.say(f"No tiles of {', '.join(empty)}: left out of the means.")
    console.say(metrics.weakest(counts, classes).sentence())


def _shown(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.4f}"


def table(summary: dict[str, Any]) -> Table:
    """The classes as a table for the terminal."""
    from rich.table import Table

    out = Table("class")
    for heading in ("recall", "precision", "F1", "tiles"):
        out.add_column(heading, justify="right")
    for name, values in summary["per_class"].items():
        shares = (_shown(values[key]) for key in ("recall", "precision", "f1"))
        out.add_row(name, *shares, f"{values['support']:,}")
    return out


def record(
    summary: dict[str, Any], split: str, trained: Trained, tracking: TrackingSection
) -> None:
    """Add numbers, files and figures to the MLflow run of these weights."""
    from pipeline.tracking import find

    with find(tracking, trained.bundle.digest, params=trained.bundle.params) as run:
        run.metrics(flat(summary, split))
        for path in (METRICS, CONFUSION, PREDICTIONS):
            run.artifact(path, "evaluate")
        for path in sorted(FIGURES.glob("*.png")):
            run.figure(path)


def flat(summary: dict[str, Any], split: str) -> dict[str, float]:
    """Numbers by names such as ``test_accuracy``, ``test_recall/water``, ``test_rmse/nir``.

    What is undefined is left out.
    """
    values: dict[str, float | None] = {}
    for key, value in summary.items():
        if key == "ensemble":
            values |= comparison.flat(value, split)
        elif isinstance(value, dict):  # per_class, per_band
            for name, row in value.items():
                safe = re.sub(r"[^\w./ -]", "_", name)  # what MLflow takes in a name
                values |= {f"{split}_{measure}/{safe}": v for measure, v in row.items()}
        elif isinstance(value, list):
            values |= {f"{split}_{key}_low": value[0], f"{split}_{key}_high": value[1]}
        else:
            values[f"{split}_{key}"] = value
    return {key: value for key, value in values.items() if value is not None}
