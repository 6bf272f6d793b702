"""SAT tiles in MATLAB files, read one variable at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SourceError
from pipeline.sources.batch import BATCH_BYTES, TileBatch
from pipeline.sources.sat_tiles import batch, check_shape, from_one_hot, to_bytes

# Pixels, labels, and the part they belong to. A MATLAB file has tiles on the last axis of both.
PARTS = (("train_x", "train_y", "train"), ("test_x", "test_y", "test"), ("image", "label", "tile"))


@dataclass(frozen=True)
class MatPart:
    """A pair of variables: pixels and one-hot labels."""

    path: str
    pixels: str
    labels: str | None  # None: not to be read
    split: str
    classes: int
    cost: int

    def read(self) -> Iterator[TileBatch]:
        """Hold one variable of pixels whole, as the file does, and hand it over in batches."""
        path = Path(self.path)
        pixels = load(path, self.pixels)
        if self.split != "tile":
            pixels = pixels.transpose(3, 0, 1, 2)
        labels = self._labels(path, len(pixels))
        step = max(1, BATCH_BYTES // int(np.prod(pixels.shape[1:])))
        for start in range(0, len(pixels), step):
            chunk = np.ascontiguousarray(pixels[start : start + step])
            chunk = to_bytes(chunk, f"{self.pixels} of {path.name}")
            yield batch(chunk, labels[start : start + step], self.split, path.name, start)

    def _labels(self, path: Path, tiles: int) -> NDArray[np.int64]:
        if self.labels is None:
            return np.zeros(tiles, np.int64)
        rows = np.asarray(load(path, self.labels))
        what = f"{self.labels} of {path.name}"
        return from_one_hot(rows if self.split == "tile" else rows.T, what)


def look(
    path: Path, bands: int, size: int, labelled: bool = True
) -> tuple[list[MatPart], list[str] | None]:
    """Check the shapes of a file's variables; its parts, and its class names if it has any."""
    shapes = _shapes(path)
    parts = []
    for pixels, labels, split in PARTS:
        if pixels in shapes and (labels in shapes or not labelled):
            what = f"{pixels} of {path.name}"
            tiles, shape = _tiles_first(shapes[pixels], split, what)
            check_shape(shape, bands, size, what)
            cost = tiles * int(np.prod(shape))
            if not labelled:
                parts.append(MatPart(str(path), pixels, None, split, 0, cost))
                continue
            count, classes = _tiles_first(shapes[labels], split, f"{labels} of {path.name}")
            if count != tiles:
                raise SourceError(
                    f"Expected a label for each tile, got {count} labels in {labels} and {tiles} "
                    f"tiles in {pixels} of {path.name}."
                )
            parts.append(MatPart(str(path), pixels, labels, split, classes[0], cost))
    if not parts:
        raise SourceError(
            "Expected the variables train_x, train_y, test_x and test_y, or image and label, got "
            f"{', '.join(shapes) or 'none'} in {path}."
        )
    return parts, _annotations(path) if labelled and "annotations" in shapes else None


def _tiles_first(shape: tuple[int, ...], split: str, what: str) -> tuple[int, tuple[int, ...]]:
    axes = 2 if what.split()[0] in {labels for _, labels, _ in PARTS} else 4
    if len(shape) != axes:
        raise SourceError(f"Expected {axes} axes, got the shape {shape} in {what}.")
    return (shape[0], shape[1:]) if split == "tile" else (shape[-1], shape[:-1])


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from scipy.io import whosmat

    try:
        return {name: tuple(shape) for name, shape, _ in whosmat(path)}
    except NotImplementedError as error:
        raise SourceError(
            f"Expected a MATLAB file up to version 7, got version 7.3 (HDF5) in {path}. "
            "Save it again with -v7."
        ) from error
    except Exception as error:  # scipy raises whatever the broken bytes lead to
        raise _unreadable(path, error) from error


def load(path: Path, variable: str) -> NDArray[Any]:
    """Read one variable of a file."""
    from scipy.io import loadmat

    try:
        return np.asarray(loadmat(path, variable_names=[variable])[variable])
    except MemoryError:
        raise
    except Exception as error:  # scipy raises whatever the broken bytes lead to
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SourceError:
    reason = str(error) or type(error).__name__
    return SourceError(f"Expected a whole MATLAB file, got {path}: {reason}. Fetch it again.")


def _annotations(path: Path) -> list[str]:
    """Class names in label order, from rows of (one-hot vector, name)."""
    rows = load(path, "annotations")
    order = from_one_hot(
        np.array([np.ravel(row[0]) for row in rows]), f"annotations of {path.name}"
    )
    names = {int(label): str(np.ravel(row[1])[0]) for label, row in zip(order, rows, strict=True)}
    return [names[label] for label in sorted(names)]
