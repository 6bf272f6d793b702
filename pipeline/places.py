"""Places: what tiles share that makes them look alike, and so what an interval must resample.

Tiles of one place succeed and fail together, so that n of them say less than n tiles of as many
places. A place is a whole group where the split kept groups whole, else a square of ground; tiles
that share nothing stand alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.errors import StoreError
from pipeline.split import blocks

BLOCK_TILES = 10  # width of a square of ground, in tiles, as that of split=block
KINDS = {"group": "groups", "scene": "scenes", "block": "blocks", "tile": "tiles"}


@dataclass(frozen=True, slots=True)
class Places:
    """The place of each tile, by name."""

    over: str  # groups, scenes, blocks or tiles
    names: NDArray[Any]  # (N,) of str

    @classmethod
    def of(cls, index: pd.DataFrame, rows: range, wanted: str = "auto") -> Places:
        """Places of some rows of a store's index.

        Args:
            index: A row a tile, of all splits: which tells whether groups were kept whole.
            rows: The tiles to place.
            wanted: A key of ``KINDS``, or ``auto``: groups of several tiles that stand in no other
                split; else squares of ground; else each tile by itself.

        Raises:
            StoreError: Squares of ground are wanted of tiles that lie nowhere.
        """
        here = index.iloc[rows.start : rows.stop]
        kind = _kind(index, here, rows) if wanted == "auto" else wanted
        if kind == "block" and not _placed(here):
            raise StoreError(
                "Expected tiles with a place for evaluate.places=block, got tiles without one. "
                "Set evaluate.places=auto."
            )
        names = {"group": groups, "scene": _scenes, "block": squares, "tile": _ids}[kind](here)
        places = cls(KINDS[kind], names)
        return places if len(pd.unique(names)) < len(here) else places.alone(here["id"].tolist())

    @classmethod
    def alone(cls, ids: Sequence[str]) -> Places:
        """Each tile by itself."""
        return cls("tiles", np.array(ids, object))

    @property
    def codes(self) -> NDArray[np.int64]:
        """Number (N,) of each tile's place, in the order of the names."""
        return np.unique(self.names.astype(str), return_inverse=True)[1].astype(np.int64)


def _kind(index: pd.DataFrame, here: pd.DataFrame, rows: range) -> str:
    own = here["group"][here["group"] != ""]
    others = index["group"].drop(here.index)
    whole = 1 < own.nunique() < len(own) and not own.isin(others).any()
    return "group" if whole else "block" if _placed(here) else "tile"


def _ids(here: pd.DataFrame) -> NDArray[Any]:
    return here["id"].to_numpy(object)


def _scenes(here: pd.DataFrame) -> NDArray[Any]:
    return here["source"].to_numpy(object)


def groups(here: pd.DataFrame) -> NDArray[Any]:
    """Groups (N,); a tile without one is a group of its own."""
    return here["group"].where(here["group"] != "", here["id"]).to_numpy(object)


def _placed(here: pd.DataFrame) -> bool:
    """Whether all tiles lie on the ground, or each in another window of its file."""
    if not here["left"].isna().any():
        return True
    return not here.duplicated(["source", "window_row", "window_col"]).any()


def squares(here: pd.DataFrame) -> NDArray[Any]:
    """Squares of ground (N,), ten tiles wide, named by frame and lower corner.

    Without a CRS the frame is the file's grid of pixels.
    """
    ground = not here["left"].isna().any()
    frame = (here["crs"] if ground else here["source"]).to_numpy(str)
    sides = _bounds(here, ground)
    left, bottom, right, top = sides.T
    _, codes = np.unique(frame, return_inverse=True)
    widest = np.zeros(codes.max(initial=-1) + 1)
    np.maximum.at(widest, codes, np.maximum(right - left, top - bottom))
    size = BLOCK_TILES * widest[codes]
    keys = blocks((left + right) / 2, (bottom + top) / 2, codes, size)
    corners = keys[:, 1:] * size[:, None]
    return np.array(
        [f"{name} {x:.10g} {y:.10g}" for name, (x, y) in zip(frame, corners, strict=True)], object
    )


def _bounds(here: pd.DataFrame, ground: bool) -> NDArray[np.float64]:
    """Left, bottom, right, top (N, 4): on the ground, or in pixels of the file."""
    if ground:
        return here[["left", "bottom", "right", "top"]].to_numpy(np.float64)
    row, col, height, width = (
        here[f"window_{side}"].to_numpy(np.float64) for side in ("row", "col", "height", "width")
    )
    return np.stack([col, row, col + width, row + height], axis=1)
