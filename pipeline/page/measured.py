"""What ``evaluate`` and ``predict`` wrote, as the page shows it; what is missing is left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import assessment, ballots, breakdown, metrics, results
from pipeline.report import Cell, Picture, Subject, cells, read_confusion
from pipeline.types import Classes


def read(path: Path) -> Any:
    """Content of a JSON file; None where there is none."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def measures(reports: Path, subject: Subject) -> dict[str, Any] | None:
    """``metrics.json``, unless it is of a network with another task."""
    found: dict[str, Any] | None = read(reports / "metrics.json")
    if found and ("per_band" in found) != subject.reconstructs:
        return None
    return found


def votes(found: Mapping[str, Any] | None, subject: Subject) -> dict[str, Any] | None:
    """What is told of an ensemble, unless it is of another one."""
    voted = (found or {}).get("ensemble")
    if not voted or len(voted.get("members", ())) != len(subject.members):
        return None
    return {**voted, "rows": ballots.rows(voted), "told": ballots.sentences(voted)}


def inline(path: Path) -> str | None:
    """An SVG as a part of a page, where it needs no namespace."""
    if not path.is_file():
        return None
    return re.sub(r' xmlns="[^"]*"', "", path.read_text(encoding="utf-8"), count=1)


def maps(folder: Path, scenes: Iterable[str]) -> list[Picture]:
    """Pictures of the scenes that are there, each with its bands beside those of training."""
    found = [
        (Picture(scene, folder / f"{scene}.png", f"The scene {scene} beside its class map."),
         Picture("", folder / "bands" / f"{scene}.png", f"Bands of {scene} beside training."))
        for scene in scenes
    ]  # fmt: skip
    return [picture for pair in found for picture in pair if picture.path.is_file()]


def mistakes(folder: Path) -> list[Picture]:
    """What ``evaluate`` drew of the tiles that it found wrong."""
    alts = {
        "errors.png": "The worst tiles of each pair of classes that is confused.",
        "scenes.png": "A confusion matrix for each scene.",
    }
    paths = {folder / name: alt for name, alt in alts.items()}
    return [Picture("", path, alt) for path, alt in paths.items() if path.is_file()]


@dataclass(frozen=True, slots=True)
class Scores:
    """What the page shows of the probabilities, and of scenes and places."""

    pictures: list[Picture]
    worst: str  # a sentence; empty where tiles stand alone
    groups: Picture | None
    reject: str  # a sentence; empty where no accuracy is wanted


# Figure of the evaluation -> what it shows, in words.
SCORES = {
    "reliability": "Accuracy over confidence, before and after the temperature.",
    "coverage": "Accuracy of the tiles that are kept, over the share of tiles that are kept.",
    "roc": "The ROC curve of each class against the rest.",
    "precision_recall": "Precision over recall of each class against the rest.",
}


def scores(reports: Path, found: Mapping[str, Any]) -> Scores:
    """Of a network that tells classes."""
    folder = reports / results.FIGURES
    pictures = {name: Picture(name, folder / f"{name}.png", alt) for name, alt in SCORES.items()}
    path = reports / results.GROUPS
    rows = results.read_groups(path) if path.is_file() else []
    groups = Picture(
        "groups", folder / "groups.png", "Accuracy by scene or place, the worst first."
    )
    reject = found.get("reject")
    return Scores(
        [one for one in pictures.values() if one.path.is_file()],
        breakdown.worst(rows) if rows else "",
        groups if groups.path.is_file() else None,
        assessment.told(reject) if reject else "",
    )


@dataclass(frozen=True, slots=True)
class Matrix:
    """The confusion matrix as the page shows it."""

    rows: list[tuple[str, list[Cell]]]
    weakest: str  # a sentence


def matrix(path: Path, classes: Classes) -> Matrix | None:
    """The confusion matrix, unless it is of another network."""
    if not path.is_file():
        return None
    found, counts = read_confusion(path)
    if found != classes:
        return None
    return Matrix(cells(counts, classes), metrics.weakest(counts, classes).sentence())


Ranked = list[tuple[str, str, dict[str, Any]]]


def ranked(found: Mapping[str, Any], classes: Classes) -> Ranked:
    """Name, colour and measures of each class, that with the lowest recall first."""
    colours = dict(zip(classes.names, classes.colours, strict=True))
    rows = [(name, colours.get(name, "#888888"), row) for name, row in found["per_class"].items()]
    return sorted(rows, key=lambda row: 2.0 if row[2]["recall"] is None else row[2]["recall"])


def floor(values: Iterable[float | None]) -> float:
    """Where an axis of shares begins: a round number below all of them."""
    known = [value for value in values if value is not None]
    return max(0.0, int(10 * min(known, default=0.0) - 0.2) / 10)


def lowest(row: Mapping[str, Any]) -> float | None:
    """The lower end of a class's recall."""
    ends = row.get("recall_ci95")
    value: float | None = ends[0] if ends else row["recall"]
    return value
