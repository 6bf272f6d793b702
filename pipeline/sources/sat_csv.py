"""SAT tiles as comma-separated values, streamed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv as arrow_csv

from pipeline.errors import SourceError
from pipeline.sources.batch import BATCH_BYTES, TileBatch
from pipeline.sources.sat_tiles import batch, from_one_hot


@dataclass(frozen=True)
class CsvPart:
    """A file of pixels, channel last, and a file of one-hot labels."""

    pixels: str
    labels: str | None  # None: not to be read
    split: str
    size: int
    bands: int
    classes: int
    cost: int

    def read(self) -> Iterator[TileBatch]:
        """Stream the pixels; the labels are small and read whole."""
        if self.labels is None:
            yield from self._read_unlabelled()
            return
        name = Path(self.labels).name
        rows = list(_numbers(self.labels, self.classes))
        labels = from_one_hot(np.concatenate(rows), name) if rows else np.empty(0, np.int64)
        start = 0
        for values in _numbers(self.pixels, self.size * self.size * self.bands):
            shown = labels[start : start + len(values)]
            if len(shown) < len(values):
                break
            tiles = values.reshape(-1, self.size, self.size, self.bands)
            yield batch(tiles, shown, self.split, Path(self.pixels).name, start)
            start += len(values)
        else:
            if start == len(labels):
                return
        raise SourceError(
            f"Expected a label for each tile, got {len(labels)} labels in {name} and another "
            f"number of tiles in {Path(self.pixels).name}."
        )

    def _read_unlabelled(self) -> Iterator[TileBatch]:
        start = 0
        for values in _numbers(self.pixels, self.size * self.size * self.bands):
            tiles = values.reshape(-1, self.size, self.size, self.bands)
            none = np.zeros(len(tiles), np.int64)
            yield batch(tiles, none, self.split, Path(self.pixels).name, start)
            start += len(tiles)


def look(
    path: Path, bands: int, size: int, labelled: bool = True
) -> tuple[list[CsvPart], list[str] | None]:
    """Find the files in a folder, and check the length of their first lines."""
    parts = []
    for split in ("train", "test"):
        pixels = _one(path, f"X_{split}_sat*.csv")
        labels = _one(path, f"y_{split}_sat*.csv") if labelled else None
        width = len(_first_line(pixels))
        if width != size * size * bands:
            raise SourceError(
                f"Expected {size} x {size} x {bands} = {size * size * bands} numbers a line, got "
                f"{width} in {pixels}. Set tiles.size and source.bands."
            )
        cost = pixels.stat().st_size
        classes = len(_first_line(labels)) if labels else 0
        named = str(labels) if labels else None
        parts.append(CsvPart(str(pixels), named, split, size, bands, classes, cost))
    notes = sorted(path.glob("sat*annotations.csv")) if labelled else []
    return parts, _annotations(notes[0]) if notes else None


def _one(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        names = ", ".join(path.name for path in found)
        raise SourceError(
            f"Expected one file {pattern} in {folder}, got {names or 'none'}. Set source.path to "
            "the folder that holds the .csv files of one SAT set."
        )
    return found[0]


def _first_line(path: Path) -> list[str]:
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _numbers(path: str, width: int) -> Iterator[NDArray[np.uint8]]:
    """Lines of bytes (N, width), some megabytes of text at a time."""
    names = [str(column) for column in range(width)]
    try:
        with arrow_csv.open_csv(
            path,
            # A byte takes up to four characters, so a block of text is never the larger part.
            read_options=arrow_csv.ReadOptions(
                column_names=names, block_size=BATCH_BYTES, use_threads=False
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.uint8()), null_values=[]
            ),
        ) as reader:
            for block in reader:
                yield np.stack([column.to_numpy() for column in block.columns], axis=1)
    except pa.ArrowInvalid as error:
        raise SourceError(
            f"Expected lines of {width} whole numbers from 0 to 255, got {path}: {error}"
        ) from error


def _annotations(path: Path) -> list[str]:
    """Class names in label order, from lines of one-hot columns and a name, in any order."""
    names: dict[int, str] = {}
    with path.open(newline="", encoding="utf-8") as file:
        for line in csv.reader(file):
            bits = [cell.strip() for cell in line if cell.strip().isdigit()]
            words = [cell.strip() for cell in line if not cell.strip().isdigit()]
            if bits.count("1") != 1 or len(words) != 1:
                raise SourceError(
                    f"Expected one-hot columns and a name on each line, got {','.join(line)!r} in "
                    f"{path}. Name the classes with source.classes and take the file away."
                )
            names[bits.index("1")] = words[0]
    return [names[label] for label in sorted(names)]
