"""SAT-6 and SAT-4 (Basu et al. 2015, arXiv 1509.03602): .mat and .csv, official test split kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import ClassError, SourceError
from pipeline.sources import sat_csv, sat_mat
from pipeline.sources.batch import Plan
from pipeline.types import Bands, Classes

if TYPE_CHECKING:
    from pipeline.schema import SatSource, TilesSection

# Order of the one-hot columns where a file has no annotations of its own.
KNOWN_CLASSES = {
    4: ("barren_land", "trees", "grassland", "none"),
    6: ("building", "barren_land", "trees", "grassland", "road", "water"),
}


def plan(source: SatSource, tiles: TilesSection) -> Plan:
    """Look at the headers of a .mat file, or at a folder of .csv files."""
    path = Path(source.path)
    if not path.exists():
        raise SourceError(
            f"Expected a SAT file or a folder of SAT .csv files, got nothing at {path}. "
            "Set source.path."
        )
    bands = Bands(tuple(source.bands))
    look = sat_csv.look if path.is_dir() else sat_mat.look
    labelled = source.labels != "none"
    parts, annotations = look(path, len(bands), tiles.size, labelled)
    names = source.classes or annotations
    classes = _classes(names, parts[0].classes, path) if labelled else Classes(())
    return Plan(
        kind="sat",
        bands=bands,
        classes=classes,
        dtype=np.dtype(np.uint8),
        tasks=parts,
        files=[path.name],
        official=any(part.split == "test" for part in parts),
    )


def _classes(names: list[str] | None, columns: int, path: Path) -> Classes:
    names = list(names or KNOWN_CLASSES.get(columns, ()))
    if len(names) != columns:
        raise ClassError(
            f"Expected {columns} class names, one a column of the labels in {path}, got "
            f"{len(names)}{': ' if names else ''}{', '.join(names)}. Name them with source.classes."
        )
    return Classes(tuple(names))
