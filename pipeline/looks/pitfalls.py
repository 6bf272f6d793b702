"""What could fool somebody who reads the measures, as pictures: near copies, shifted splits."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import shift
from pipeline.leaks import FILE
from pipeline.looks.base import Look
from pipeline.report import Picture, Section

if TYPE_CHECKING:
    from pipeline.figures.gallery import Shown
    from pipeline.store import Store

PAIRS = 12  # near copies that are shown
PER_ROW = 3  # pairs


def draw(look: Look) -> list[Section]:
    """What could fool somebody who reads the measures; nothing where there is nothing to show."""
    found = pictures(look.trained.store, look.out)
    return [Section("pitfalls", "What could fool you", "", found)] if found else []


def pictures(store: Store, folder: Path, leakage: Path = FILE) -> list[Picture]:
    """Write what there is to show of a store and of the pairs that ``ingest`` found in it."""
    return [*_spread(store, folder), *_near(store, folder, leakage)]


def _spread(store: Store, folder: Path) -> list[Picture]:
    from pipeline.figures import bands, canvas

    if not store.looks:
        return []
    looks = {name: shift.Look.load(facts) for name, facts in store.looks.items()}
    path = canvas.save(bands.spread(looks, "Bands of the splits"), folder / "bands.png")
    return [Picture("Bands of the splits", path, "Histograms of each band in each split.")]


def _near(store: Store, folder: Path, leakage: Path) -> list[Picture]:
    """The closest pairs of near copies that are still in the store."""
    from pipeline.figures import canvas
    from pipeline.figures.gallery import Row, gallery

    if not leakage.is_file():
        return []
    with leakage.open(newline="", encoding="utf-8") as file:
        pairs = [row for row in csv.DictReader(file) if row["kind"] == "near"]
    rows = {name: row for row, name in enumerate(store.index["id"])}
    pairs = [pair for pair in pairs if {pair["tile_id"], pair["other_id"]} <= rows.keys()]
    if not pairs:
        return []
    shown = [tile for pair in pairs[:PAIRS] for tile in _pair(store, pair, rows)]
    step = 2 * PER_ROW
    title = f"Near copies in two splits, the closest {len(shown) // 2} of {len(pairs):,}"
    caption = (
        "Two in a row are a pair: above the first how alike their details are, above the second by "
        "how many rows and columns it is moved."
    )
    lines = [Row("", shown[i : i + step]) for i in range(0, len(shown), step)]
    path = canvas.save(gallery(lines, store.bands, title, caption), folder / "near_copies.png")
    return [Picture("Near copies in two splits", path, "Pairs of tiles that are nearly the same.")]


def _pair(store: Store, pair: dict[str, str], rows: dict[str, int]) -> list[Shown]:
    from pipeline.figures.gallery import Line, Shown

    told = f"alike {float(pair['correlation']):.2f}"
    moved = f"moved {pair['rows_moved']}, {pair['columns_moved']} px"
    out = []
    for key, split, last in (("tile_id", "split", told), ("other_id", "other_split", moved)):
        tile = store.tile(rows[pair[key]])
        lines = [Line(tile.id), Line(f"{pair[split]}, {last}")]
        if len(store.classes):
            name, colour = store.classes.names[tile.label], store.classes.colours[tile.label]
            lines.insert(1, Line(name, colour))
        out.append(Shown(np.asarray(tile.pixels), lines))
    return out
