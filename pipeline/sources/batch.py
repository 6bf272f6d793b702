"""What a source hands over: a plan of tasks, and the batches of tiles that each task yields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.types import Bands, Classes

BATCH_BYTES = 16 * 2**20  # pixels of one batch

NAME = pa.dictionary(pa.int32(), pa.string())
# One row a tile. ``frame`` names the plane that ``left`` to ``top``, or the window, lie on: tiles
# of one frame that overlap hold the same ground; null: nothing is known of the tile's place.
FACTS = pa.schema(
    [
        ("id", pa.string()),
        ("label", pa.int64()),
        ("source", NAME),
        ("window_row", pa.int64()),
        ("window_col", pa.int64()),
        ("window_height", pa.int64()),
        ("window_width", pa.int64()),
        ("left", pa.float64()),
        ("bottom", pa.float64()),
        ("right", pa.float64()),
        ("top", pa.float64()),
        ("crs", NAME),
        ("group", NAME),
        ("purity", pa.float64()),
        ("frame", NAME),
        ("official", NAME),
        ("resolution", pa.float64()),
    ]
)


@dataclass(frozen=True)
class TileBatch:
    """Some tiles of one source, as columns, and how many of its windows were not kept and why."""

    pixels: NDArray[np.generic]  # (N, H, W, C)
    facts: pa.Table  # N rows of FACTS
    dropped: Counter[str]


class Task(Protocol):
    """A part of a source that one worker reads, with nothing open while it travels there."""

    @property
    def cost(self) -> int:
        """Bytes to read, about."""

    def read(self) -> Iterator[TileBatch]:
        """Open, read and close; pixels of a batch take about ``BATCH_BYTES``."""


@dataclass(frozen=True)
class Plan:
    """A source that was looked at but not read."""

    kind: str
    bands: Bands
    classes: Classes
    dtype: np.dtype[np.generic]
    tasks: Sequence[Task]
    files: Sequence[str]  # what is read, relative to the source's root, in order
    official: bool = False  # some tiles come with the split they belong to
    assumed: str | None = None  # what no file says, as a sentence


def table(columns: Mapping[str, object], rows: int) -> pa.Table:
    """Facts from arrays of ``rows`` values and from single values that all tiles share."""
    arrays = []
    for field in FACTS:
        value = columns.get(field.name)
        if isinstance(value, pa.Array):
            arrays.append(value)
        elif isinstance(value, np.ndarray):
            arrays.append(pa.array(value, type=field.type))
        elif value is None:
            arrays.append(pa.nulls(rows, field.type))
        elif field.type == NAME:
            codes = pa.array(np.zeros(rows, np.int32))
            arrays.append(pa.DictionaryArray.from_arrays(codes, pa.array([value], pa.string())))
        else:
            arrays.append(pa.repeat(pa.scalar(value, field.type), rows))
    return pa.table(arrays, schema=FACTS)
