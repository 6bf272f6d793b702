"""Checks that SAT tiles pass, whatever file they come in."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.errors import BandError, SourceError
from pipeline.sources.batch import TileBatch, table

DIGITS = 6  # SAT-4 has 500,000 tiles


def check_shape(shape: tuple[int, ...], bands: int, size: int, what: str) -> None:
    """Compare the (rows, columns, bands) of a file's tiles with what is asked for."""
    if shape[:2] != (size, size):
        raise SourceError(
            f"Expected tiles of {size} x {size} pixels, got {shape[0]} x {shape[1]} in {what}. "
            f"Set tiles.size={shape[0]}."
        )
    if shape[2] != bands:
        raise BandError(
            f"Expected {bands} bands, got {shape[2]} in {what}. Name each with source.bands."
        )


def to_bytes(pixels: NDArray[Any], what: str) -> NDArray[np.uint8]:
    """Pixels as the bytes that they stand for: 0 to 255, or 0 to 1 in steps of 1/255."""
    if pixels.dtype == np.uint8:
        return pixels
    scaled = pixels * 255.0 if pixels.dtype.kind == "f" and pixels.max(initial=0) <= 1 else pixels
    rounded = np.rint(scaled)
    fits = (np.abs(scaled - rounded) < 1e-3) & (rounded >= 0) & (rounded <= 255)
    if not fits.all():
        wrong = np.asarray(pixels)[~fits].flat[0]
        raise SourceError(
            f"Expected pixels from 0 to 255, or from 0 to 1 in steps of 1/255, got {wrong} in "
            f"{what}."
        )
    return rounded.astype(np.uint8)


def from_one_hot(rows: NDArray[Any], what: str, first: int = 0) -> NDArray[np.int64]:
    """Labels of one-hot rows (N, K); ``first`` is the number of the first row, for messages."""
    right = (np.isin(rows, (0, 1)).all(axis=1)) & (rows.sum(axis=1) == 1)
    if not right.all():
        row = int(np.argmin(right))
        raise SourceError(
            f"Expected labels with a single 1 a tile, got {rows[row].tolist()} for tile "
            f"{first + row} in {what}."
        )
    return np.asarray(rows.argmax(axis=1), np.int64)


def batch(
    pixels: NDArray[np.uint8], labels: NDArray[np.int64], part: str, source: str, first: int
) -> TileBatch:
    """Tiles (N, H, W, C) of a part (train, test, or tile where there is no official split)."""
    count, size = len(pixels), pixels.shape[1]
    numbers = pa.array(np.arange(first, first + count)).cast(pa.string())
    padded = pc.utf8_lpad(numbers, DIGITS, "0")
    columns: dict[str, object] = {
        "id": pc.binary_join_element_wise(pa.scalar(part), padded, "-"),
        "label": labels,
        "source": source,
        "window_row": 0,
        "window_col": 0,
        "window_height": size,
        "window_width": size,
        "purity": 1.0,
        "official": part if part in ("train", "test") else None,
    }
    return TileBatch(pixels, table(columns, count), Counter())
