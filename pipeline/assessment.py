"""What ``reports/metrics.json`` says of a classifier beside its measures.

Calibration before and after the temperature, what is gained by leaving tiles out, areas.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import areas, calibration, metrics
from pipeline.errors import ClassError
from pipeline.evidence import Evidence
from pipeline.measuring import Measurement
from pipeline.metrics import Floats, rounded
from pipeline.rejection import Coverage
from pipeline.types import Classes


def before_scaling(evidence: Evidence, temperature: float) -> NDArray[np.float64]:
    """Probabilities (N, K) as the network gives them, without its temperature."""
    return calibration.tempered(evidence.probabilities, 1 / temperature)


def calibrated(evidence: Evidence, temperature: float) -> dict[str, Any]:
    """The temperature, and what the measures that it changes were without it."""
    raw, actual = before_scaling(evidence, temperature), evidence.actual
    return {
        "temperature": temperature,
        "before_scaling": {
            "nll": rounded(metrics.nll(raw, actual)),
            "brier": rounded(metrics.brier(raw, actual)),
            "ece": rounded(metrics.ece(raw, actual)),
        },
    }


def rejecting(wanted: float, split: str, here: Evidence, validation: Evidence) -> dict[str, Any]:
    """The threshold that reaches an accuracy on validation, and what it gives there and here."""
    curves = {"validation": validation, split: here}
    found = {name: Coverage.of(one.confidence, one.hits) for name, one in curves.items()}
    threshold = found["validation"].reaching(wanted)
    told = {
        name: dict(zip(("coverage", "accuracy"), map(rounded, curve.at(threshold)), strict=True))
        if threshold is not None
        else None
        for name, curve in found.items()
    }
    return {"wanted_accuracy": wanted, "threshold": threshold} | told


def told(reject: Mapping[str, Any]) -> str:
    """A sentence for people."""
    wanted = f"An accuracy of {reject['wanted_accuracy']:.1%}"
    if reject["threshold"] is None:
        return f"{wanted} on validation is reached by no threshold of the confidence."
    parts = [
        f"{one['coverage']:.1%} of the {name} tiles at an accuracy of "
        + (f"{one['accuracy']:.2%}" if one["accuracy"] is not None else "nothing")
        for name, one in reject.items()
        if isinstance(one, dict)
    ]
    return f"{wanted}: a confidence of {reject['threshold']:.4f} keeps {', and '.join(parts)}."


def of_areas(measured: Measurement, mapped: Mapping[str, float]) -> dict[str, Any]:
    """Areas and accuracies of a map that gives each class so much ground.

    Raises:
        ClassError: An area is missing, or one too many, or there is no ground at all.
    """
    classes = measured.evidence.classes
    check_areas(classes, mapped)
    ground = np.array([mapped[name] for name in classes], np.float64)
    found = areas.estimate(measured.counts, ground)
    columns = {
        "area": (found.area, float(ground.sum())),
        "recall": (found.producers, 1.0),
        "precision": (found.users, 1.0),
    }
    return {
        **dict(_told("accuracy", found.accuracy, (), 1.0)),
        "per_class": {
            name: {"mapped": mapped[name]}
            | {k: v for key, (one, most) in columns.items() for k, v in _told(key, one, (i,), most)}
            for i, name in enumerate(classes)
        },
    }


def check_areas(classes: Classes, mapped: Mapping[str, float]) -> None:
    """Refuse mapped areas that are not of these classes.

    Raises:
        ClassError: An area is missing, or one too many, or there is no ground at all.
    """
    if set(mapped) != set(classes) or not sum(mapped.values()):
        got = ", ".join(f"{name}: {area:g}" for name, area in mapped.items()) or "none"
        raise ClassError(
            f"Expected in evaluate.areas the mapped area of each class ({', '.join(classes)}), "
            f"0 where there is none, got {got}."
        )


def _told(
    name: str, one: areas.Estimate, place: tuple[int, ...], most: float
) -> list[tuple[str, float | list[float | None] | None]]:
    """An estimate, its standard error and its interval; null for what is not known."""

    def at(values: Floats) -> float | None:
        return rounded(float(np.asarray(values)[place]))

    low, high = (at(end) for end in one.interval(most))
    return [
        (name, at(one.value)),
        (f"{name}_error", at(one.error)),
        (f"{name}_ci95", None if low is None else [low, high]),
    ]
