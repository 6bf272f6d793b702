"""Look inside the trained network: its filters, their answers to tiles, kernels made by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline import console
from pipeline.looks import (
    attributions,
    choosing,
    convolutions,
    dreams,
    embeddings,
    kernels,
    layers,
    pitfalls,
    reconstructions,
    walks,
)
from pipeline.looks.base import SPLIT, Look
from pipeline.page import compose
from pipeline.page.facts import Pace
from pipeline.report import Inside, Section, Subject
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import EngineSection, PredictSection, TrackingSection, VisualizeSection

REPORTS = Path("reports")
OUT = REPORTS / "visualize"
# What refuses a setting before any work is done.
CHECKS: tuple[Callable[[Trained, VisualizeSection], None], ...] = (
    layers.check,
    kernels.check,
    dreams.check,
    embeddings.check,
)
# Sections of the page, in its order.
LOOKS: tuple[Callable[[Look], list[Section]], ...] = (
    reconstructions.draw,
    walks.draw,
    pitfalls.draw,
    convolutions.draw,
    attributions.draw,
    dreams.draw,
    embeddings.draw,
    kernels.draw,
)


def run(
    visualize: VisualizeSection,
    predict: PredictSection,
    engine: EngineSection,
    tracking: TrackingSection,
) -> None:
    """Write pictures and arrays to ``reports/visualize/`` and the page ``reports/index.html``."""
    whole = Trained.open(engine)
    member = choosing.member_of(whole, visualize.member)
    trained = whole if member is None else whole.member(member)
    for check in CHECKS:
        check(trained, visualize)
    look = Look(trained, choosing.tiles_of(trained, visualize), visualize, OUT)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    sections = [section for draw in LOOKS for section in draw(look)]
    content = Inside(next(iter(layers.names(trained, visualize)), None), sections)
    forget_maps(predict.scenes)
    start = trained.store.split_range(SPLIT).start
    page = compose.write(
        subject(whole, member),
        content,
        trained,
        REPORTS,
        predict.scenes,
        first=[start + row for row in look.shown.rows],
        pace=pace(whole, tracking),
    )
    console.say(f"Wrote {page} and {len(list(OUT.iterdir()))} files in {OUT}.")
    record(trained, page, tracking)


def forget_maps(scenes: Collection[str]) -> None:
    """Remove pictures of scenes that are named no longer: DVC looks at their folder as a whole.

    It knows what a stage writes, not what it once wrote. The maps in ``predictions/`` stay.
    """
    for path in (REPORTS / "maps").rglob("*.png"):
        if path.stem not in scenes:
            path.unlink()


def subject(trained: Trained, member: int | None) -> Subject:
    """What the page says of the network at its top."""
    bundle = trained.bundle
    return Subject(
        name=bundle.name,
        digest=bundle.digest,
        bands=bundle.bands.names,
        classes=bundle.classes,
        tile_size=bundle.tile_size,
        parameters=sum(p.numel() for p in bundle.network.parameters()),
        reconstructs=bundle.reconstructs,
        members=bundle.members,
        inside=member,
    )


def pace(trained: Trained, tracking: TrackingSection) -> Pace | None:
    """How fast the network was trained, which the run of its weights alone knows."""
    from pipeline.tracking import throughput

    rates = throughput(tracking, trained.bundle.digest)
    return Pace(trained.store.count("train"), rates) if rates else None


def record(trained: Trained, page: Path, tracking: TrackingSection) -> None:
    """Keep pictures, arrays and the page in the MLflow run of these weights."""
    from pipeline.tracking import find

    with find(tracking, trained.bundle.digest, params=trained.bundle.params) as run:
        run.artifact(OUT, "visualize", anew=True)
        run.artifact(page)
