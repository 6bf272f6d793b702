"""Measure the trained network on tiles that it did not learn from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import (
    assessment,
    ballots,
    beside,
    breakdown,
    calibration,
    console,
    evidence,
    mistakes,
    reconstruction,
    results,
    telling,
)
from pipeline.beside import Baseline
from pipeline.breakdown import Row
from pipeline.errors import BundleError
from pipeline.evidence import Evidence
from pipeline.matching import UNKNOWN
from pipeline.measuring import Measurement
from pipeline.resampling import Resampling
from pipeline.trained import MODELS, TILES, Trained

if TYPE_CHECKING:
    from pipeline.schema import EngineSection, EvaluateSection, TrackingSection
    from pipeline.store import Store

REPORTS = Path("reports")
BASELINE = REPORTS / "baseline.json"
ELSEWHERE = Path("evaluations")  # of bundles and stores that are not the pipeline's own
SHOWN = 8  # tiles of the figure of reconstructions


def run(
    evaluate: EvaluateSection,
    engine: EngineSection,
    tracking: TrackingSection,
    bundle: str | None = None,
    store: str | None = None,
    out: str | None = None,
) -> None:
    """Write the measures, and what was found of every tile.

    A bundle or a store of one's own is measured into a folder of its own, ``out`` or one that is
    named after both, and is no part of the pipeline's run in MLflow.
    """
    own = bundle is None and store is None
    if own:
        trained = Trained.open(engine)
    else:
        trained = Trained.matched(engine, Path(store or TILES), Path(bundle or MODELS))
    reports = Path(out) if out else REPORTS if own else _elsewhere(trained)
    if not own and reports.resolve() == REPORTS.resolve():
        raise BundleError(
            f"Expected --out to be a folder of its own for a bundle or a store of one's own, got "
            f"{out}, where the pipeline's reports are. Name another folder, or leave --out away."
        )
    task = reconstruct if trained.bundle.reconstructs else classify
    summary = task(trained, evaluate, reports)
    if reports == REPORTS and own:
        others = beside.rows(REPORTS)
        beside.report(trained.bundle.name, summary, others)
        record(summary, evaluate.split, trained, tracking, others)
    else:
        console.say(f"Wrote {reports}/.")


def _elsewhere(trained: Trained) -> Path:
    return ELSEWHERE / f"{trained.bundle.digest[:8]}-on-{trained.store.digest[:8]}"


def classify(trained: Trained, evaluate: EvaluateSection, reports: Path) -> dict[str, Any]:
    """Measures, confusion matrix, every tile's prediction, and accuracy by scene or place."""
    split, whole = evaluate.split, trained.bundle
    if evaluate.areas is not None:  # before the network runs
        assessment.check_areas(whole.classes, evaluate.areas)
    trained = trained.heard(evaluate)
    members = trained.opinions(split, evaluate.batch_size)
    votes = {
        kind: (shares, whole.heard(kind, evaluate.tta).temperature)
        for kind, shares in (ballots.votes(members, whole.members) if members else {}).items()
    }
    probabilities: NDArray[Any]
    if members:
        probabilities = calibration.tempered(*votes[evaluate.vote])
    else:
        probabilities = trained.probabilities(split, evaluate.batch_size)
    found = trained.evidence(probabilities, split, evaluate.places)
    measured = Measurement.of(found)
    summary = assess(measured, trained, evaluate)
    if members:
        actual = trained.labels(split)
        known = actual != UNKNOWN
        told = ballots.compare(
            whole.members,
            [shares[known] for shares in members],
            {kind: (shares[known], warmth) for kind, (shares, warmth) in votes.items()},
            actual[known],
            Resampling.of(found.places),
        )
        summary["ensemble"] = {"vote": evaluate.vote, "tta": evaluate.tta, **told}
    rows = _rows(measured, trained.store, split)
    forget_figures(reports)
    results.write(summary, found, rows, reports)
    draw(measured, summary, rows, split, reports / results.FIGURES)
    wrong = mistakes.Measured.of(trained.store, split, found.ids, found.actual, found.probabilities)
    what = f"{len(found.actual):,} {split} tiles"
    mistakes.draw(wrong, trained.store.bands, found.classes, what, reports / results.FIGURES)
    telling.classified(summary, measured.counts, found.classes, rows)
    if members:
        telling.voted(summary["ensemble"])
    for sentence in trained.leaked(split):
        console.warn(sentence)
    return summary


def forget_figures(reports: Path) -> None:
    """Remove figures of a network of another task, where the folder is the pipeline's own."""
    if reports == REPORTS:
        shutil.rmtree(reports / results.FIGURES, ignore_errors=True)


def assess(measured: Measurement, trained: Trained, evaluate: EvaluateSection) -> dict[str, Any]:
    """Everything that ``metrics.json`` holds, in its order: classes come last."""
    summary = measured.summary()
    per_class = summary.pop("per_class")
    summary |= assessment.calibrated(measured.evidence, trained.bundle.temperature)
    if evaluate.wanted_accuracy is not None:
        shares = trained.probabilities("validation", evaluate.batch_size)
        validation = trained.evidence(shares, "validation", evaluate.places)
        wanted, here = evaluate.wanted_accuracy, measured.evidence
        summary["reject"] = assessment.rejecting(wanted, evaluate.split, here, validation)
    if evaluate.areas is not None:
        summary["areas"] = assessment.of_areas(measured, evaluate.areas)
    counts = trained.store.counts[evaluate.split]
    if left_out := trained.match.left_out(counts) if trained.match else {}:
        summary["left_out"] = left_out
    return summary | {"per_class": per_class}


def _rows(measured: Measurement, store: Store, split: str) -> list[Row]:
    here = store.split_range(split)
    index = store.index.iloc[here.start : here.stop]
    known = index[index["id"].isin(measured.evidence.ids)]
    return breakdown.rows(measured, breakdown.level(known, measured))


def reconstruct(trained: Trained, evaluate: EvaluateSection, reports: Path) -> dict[str, Any]:
    """Measures and every tile's error; of what only a classifier has there are the headers."""
    store, split = trained.store, evaluate.split
    errors = trained.errors(split, evaluate.batch_size)
    summary = reconstruction.summarize(errors, trained.deviation, store.bands)
    of_tiles = errors.of_tiles(trained.deviation)
    forget_figures(reports)
    results.write_metrics(summary, reports / results.METRICS)
    none = np.zeros((0, 0), np.int64)
    results.write_confusion(none, store.classes, reports / results.CONFUSION)
    ids, names = _ids(store, split), store.names(split)
    results.write_errors(ids, names, of_tiles, reports / results.PREDICTIONS)
    results.write_groups([], reports / results.GROUPS)
    evidence.write(Evidence.none(), reports / results.PROBABILITIES)
    draw_reconstructions(trained, split, of_tiles, reports / results.FIGURES)
    telling.reconstructed(summary)
    return summary


def _ids(store: Store, split: str) -> list[str]:
    rows = store.split_range(split)
    ids: list[str] = store.index["id"].iloc[rows.start : rows.stop].tolist()
    return ids


def draw(
    measured: Measurement, summary: dict[str, Any], rows: list[Row], split: str, folder: Path
) -> None:
    """Write all figures."""
    from pipeline.figures import canvas
    from pipeline.figures.evaluation import figures_of

    for name, figure in figures_of(measured, summary, rows, split):
        canvas.save(figure, folder / f"{name}.png")


def draw_reconstructions(
    trained: Trained, split: str, errors: NDArray[np.float64], folder: Path
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


def record(
    summary: dict[str, Any],
    split: str,
    trained: Trained,
    tracking: TrackingSection,
    others: Sequence[Baseline],
) -> None:
    """Add numbers, files and figures to the MLflow run of these weights."""
    from pipeline.tracking import find

    with find(tracking, trained.bundle.digest, params=trained.bundle.params) as run:
        run.metrics(results.flat(summary, split) | beside.flat(others))
        for name in results.FILES:
            run.artifact(REPORTS / name, "evaluate")
        if others:
            run.artifact(BASELINE, "evaluate")
        for path in sorted((REPORTS / results.FIGURES).glob("*.png")):
            run.figure(path)
