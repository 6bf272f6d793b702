"""What pages are made of: pictures, sections, tables of counts, and templates that take them in."""

from __future__ import annotations

import base64
import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import metrics
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


def render(template: str, **content: Any) -> str:
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


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the confusion matrix as the page shows it."""

    count: int
    share: float  # of its row
    text: str


def read_confusion(path: Path) -> tuple[Classes, Counts]:
    """Classes and counts (K, K) of ``confusion.csv``."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return Classes(tuple(header)), np.array(rows, dtype=np.int64)


def cells(counts: Counts, classes: Classes) -> list[tuple[str, list[Cell]]]:
    """Rows of a confusion matrix, each with the name of its class."""
    rows = []
    for name, row in zip(classes, counts.tolist(), strict=True):
        total = sum(row)
        shown = [Cell(n, n / total if total else 0.0, metrics.percent(n, total)) for n in row]
        rows.append((name, shown))
    return rows
