"""Tiles that ``source.exclude`` leaves out: ids, or a CSV file that names them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import SourceError

COLUMNS = ("tile_id", "id")  # that hold ids, the first that is there
SHOWN = 3


def ids_of(exclude: str | Sequence[str] | None) -> list[str]:
    """Ids as they are given, or those of a CSV file.

    Raises:
        SourceError: The file is missing, or has no column of ids.
    """
    if not isinstance(exclude, str):
        return list(exclude or ())
    path = Path(exclude)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            names = rows.fieldnames or ()
            column = next((name for name in COLUMNS if name in names), None)
            if column is None:
                raise SourceError(
                    f"Expected a column {' or '.join(COLUMNS)} in {path} (source.exclude), got "
                    f"{', '.join(names) or 'no header'}. Name the column of the ids so."
                )
            return [row[column] for row in rows if row[column]]
    except (FileNotFoundError, IsADirectoryError, UnicodeDecodeError) as error:
        raise SourceError(
            f"Expected a CSV file with the ids of tiles at source.exclude={exclude}, got none. "
            "Give its path, or a list of ids: source.exclude=[id,id]."
        ) from error


def marked(ids: pa.ChunkedArray, excluded: Sequence[str]) -> tuple[NDArray[np.bool_], str | None]:
    """Which tiles (N,) are excluded, and a sentence on ids that no tile has."""
    wanted = pa.array(dict.fromkeys(excluded), pa.string())
    found = pc.is_in(ids, value_set=wanted).to_numpy()
    unknown = wanted.filter(pc.invert(pc.is_in(wanted, value_set=ids.unique()))).to_pylist()
    if not unknown:
        return found, None
    first = ", ".join(unknown[:SHOWN]) + (", ..." if len(unknown) > SHOWN else "")
    return found, (
        f"{len(unknown):,} of {len(wanted):,} ids of source.exclude are of no tile: {first}. They "
        "are of another source, or of another tiles.size."
    )
