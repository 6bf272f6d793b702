"""``reports/index.html``: one file that shows what a network does and holds.

The page is made of what the stages before it wrote; what is missing is left out. Images are inline
and there is no time in it, so the same files give the same page anywhere.
"""

from __future__ import annotations

import base64
import csv
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import assessment, ballots, beside, breakdown, metrics, results
from pipeline.ensemble import Member
from pipeline.metrics import Counts
from pipeline.types import Classes

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the page; ``alt`` says in words what it shows."""

    heading: str
    path: Path
    alt: str
    colour: str = ""  # of its class

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in CSS pixels: the header of a PNG says how many dots it has."""
        header = self.path.read_bytes()[16:24]
        return int.from_bytes(header[:4]) * 2 // 3, int.from_bytes(header[4:]) * 2 // 3

    @property
    def data(self) -> str:
        """The file as a data URL."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


@dataclass(frozen=True, slots=True)
class Subject:
    """The network that the page is about."""

    name: str
    digest: str
    bands: tuple[str, ...]
    classes: Classes
    tile_size: int
    parameters: int
    reconstructs: bool = False  # draws its tile again, and tells no classes
    members: Sequence[Member] = ()  # of an ensemble
    inside: int | None = None  # which of them the pictures are of


@dataclass(frozen=True, slots=True)
class Section:
    """A part of what is seen inside a network: plain text, and pictures."""

    key: str  # its anchor
    title: str
    text: str
    pictures: Sequence[Picture] = ()


@dataclass(frozen=True, slots=True)
class Inside:
    """What the network holds."""

    layer: str | None  # whose filters are shown; None: there is no convolution
    sections: Sequence[Section] = ()

    def section(self, key: str) -> Section | None:
        """The first section of that key."""
        return next((one for one in self.sections if one.key == key), None)


def write(subject: Subject, inside: Inside, reports: Path, scenes: Iterable[str]) -> Path:
    """Write the page from the files of the folder, with the maps of these scenes."""
    page = reports / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    measures = _json(reports / "metrics.json")
    if measures and ("per_band" in measures) != subject.reconstructs:
        measures = None  # of a network with another task
    voted = (measures or {}).get("ensemble")
    if len((voted or {}).get("members", ())) != len(subject.members):
        voted = None  # of another ensemble
    tells = not subject.reconstructs
    page.write_text(
        render(
            subject=subject,
            inside=inside,
            measures=measures,
            baselines=beside.rows(reports) if measures and tells else [],
            scores=_scores(reports, measures) if measures and tells else None,
            ensemble=voted
            and {
                **voted,
                "rows": ballots.rows(voted),
                "told": ballots.sentences(voted),
            },
            matrix=_matrix(reports / "confusion.csv", subject.classes) if tells else None,
            network=_json(reports / "network" / "network.json"),
            diagram=_inline(reports / "network" / "network.svg"),
            maps=_maps(reports / "maps", scenes) if tells else [],
            mistakes=_mistakes(reports / "figures") if tells and measures else [],
            leakage=(_json(reports / "ingest.json") or {}).get("leakage"),
        ),
        encoding="utf-8",
    )
    return page


def render(template: str = "index.html.j2", **content: Any) -> str:
    """Fill in a template."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    return environment.get_template(template).render(**content)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _inline(path: Path) -> str | None:
    """An SVG as a part of a page, where it needs no namespace."""
    if not path.is_file():
        return None
    return re.sub(r' xmlns="[^"]*"', "", path.read_text(encoding="utf-8"), count=1)


def _maps(folder: Path, scenes: Iterable[str]) -> list[Picture]:
    """Pictures of the scenes that are there, each with its bands beside those of training."""
    found = [
        (Picture(scene, folder / f"{scene}.png", f"The scene {scene} beside its class map."),
         Picture("", folder / "bands" / f"{scene}.png", f"Bands of {scene} beside training."))
        for scene in scenes
    ]  # fmt: skip
    return [picture for pair in found for picture in pair if picture.path.is_file()]


def _mistakes(folder: Path) -> list[Picture]:
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


def _scores(reports: Path, measures: dict[str, Any]) -> Scores:
    folder = reports / results.FIGURES
    pictures = {name: Picture(name, folder / f"{name}.png", alt) for name, alt in SCORES.items()}
    path = reports / results.GROUPS
    rows = results.read_groups(path) if path.is_file() else []
    groups = Picture(
        "groups", folder / "groups.png", "Accuracy by scene or place, the worst first."
    )
    reject = measures.get("reject")
    return Scores(
        [one for one in pictures.values() if one.path.is_file()],
        breakdown.worst(rows) if rows else "",
        groups if groups.path.is_file() else None,
        assessment.told(reject) if reject else "",
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the confusion matrix as the page shows it."""

    count: int
    share: float  # of its row
    text: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """The confusion matrix as the page shows it."""

    rows: list[tuple[str, list[Cell]]]
    weakest: str  # a sentence


def read_confusion(path: Path) -> tuple[Classes, Counts]:
    """Classes and counts (K, K) of ``confusion.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return Classes(tuple(header)), np.array(rows, dtype=np.int64)


def _matrix(path: Path, classes: Classes) -> Matrix | None:
    if not path.is_file():
        return None
    found, counts = read_confusion(path)
    if found != classes:  # of another network
        return None
    return Matrix(cells(counts, classes), metrics.weakest(counts, classes).sentence())


def cells(counts: Counts, classes: Classes) -> list[tuple[str, list[Cell]]]:
    """Rows of a confusion matrix, each with the name of its class."""
    rows = []
    for name, row in zip(classes, counts.tolist(), strict=True):
        total = sum(row)
        shown = [Cell(n, n / total if total else 0.0, metrics.percent(n, total)) for n in row]
        rows.append((name, shown))
    return rows
