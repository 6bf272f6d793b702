"""A bundle that was not measured yet, on the tiles at hand: with all measures of ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import assessment, console
from pipeline.answers import Answers
from pipeline.comparison.outcome import Outcome, params_of
from pipeline.config import load
from pipeline.errors import ComparisonError
from pipeline.evidence import Evidence
from pipeline.kept import json_of
from pipeline.measuring import Measurement
from pipeline.trained import TILES, Trained

if TYPE_CHECKING:
    pass


def measure(bundle: Path, name: str, tiles: Path = TILES) -> Outcome:
    """How a bundle does on the tiles that are measured on; bands and classes go by name.

    Raises:
        StoreError: The store is missing or torn.
        BundleError: The bundle is, or it can't be used on such tiles.
        ComparisonError: The network tells no classes.
    """
    if json_of(bundle / "model.json").get("task") == "reconstruct":
        raise ComparisonError(
            f"Expected networks that tell classes, got one in {bundle} that reconstructs its tile. "
            "Compare the mse of such with dvc exp show or make ui."
        )
    params = load()
    section = params.evaluate
    trained = Trained.matched(params.engine, tiles, bundle)
    shares = trained.heard(section).probabilities(section.split, section.batch_size)
    seen = trained.evidence(shares, section.split, section.places)
    origin = f"bundle {bundle}, on the {section.split} tiles of {tiles}"
    counts = trained.store.counts[section.split]
    if left_out := trained.match.left_out(counts) if trained.match else {}:
        classes = ", ".join(f"{many:,} of {name}" for name, many in left_out.items())
        console.say(f"{name}: tiles of classes that it does not know are left out: {classes}.")
    for sentence in trained.leaked(section.split):
        console.warn(f"{name}: {sentence}")
    return Outcome(
        name,
        origin,
        _measures(seen, trained, left_out),
        params_of(None, {"parameters": trained.bundle.params}),
        Answers.of(seen),
        trained.bundle.data_digest,
    )


def _measures(seen: Evidence, trained: Trained, left_out: dict[str, int]) -> dict[str, Any]:
    """As ``metrics.json`` has it: classes come last."""
    summary = Measurement.of(seen).summary()
    per_class = summary.pop("per_class")
    summary |= assessment.calibrated(seen, trained.bundle.temperature)
    return summary | ({"left_out": left_out} if left_out else {}) | {"per_class": per_class}
