"""Tile stores of noise, as large as a measurement wants them, written fast."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.training import BANDS, CLASSES
from pipeline.store import Store, StoreWriter

SIZE = 28
TILE_BYTES = SIZE * SIZE * len(BANDS)
BLOCK = 20_000  # tiles of noise that are drawn, and then written again and again
VALIDATION = 64  # too few to weigh in the time of an epoch


def write(root: Path, tiles: int) -> Store:
    """A store with so many training tiles, uint8, whose classes come in turn."""
    counts = {"train": tiles, "validation": VALIDATION}
    with StoreWriter(root, BANDS, CLASSES, SIZE, np.dtype(np.uint8)) as writer:
        for split, count in counts.items():
            for pixels in _noise(count):
                writer.append(split, pixels)
        mean, std = np.full(len(BANDS), 127.5), np.full(len(BANDS), 73.9)
        writer.finish(_index(counts), mean, std, 1.0)
    return Store.open(root)


def _noise(count: int) -> Iterator[NDArray[np.uint8]]:
    shape = (min(count, BLOCK), SIZE, SIZE, len(BANDS))
    block = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for start in range(0, count, BLOCK):
        yield block[: count - start]


def _index(counts: dict[str, int]) -> pa.Table:
    total = sum(counts.values())
    splits = np.repeat([*counts], [*counts.values()])

    def same(value: Any, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), total)

    return pa.table(
        {
            "id": np.arange(total).astype(str),
            "split": splits,
            "label": np.arange(total) % len(CLASSES),
        }
        | {name: same("noise", pa.string()) for name in ("source", "group")}
        | {f"window_{part}": same(0, pa.int64()) for part in ("row", "col", "height", "width")}
        | {side: same(None, pa.float64()) for side in ("left", "bottom", "right", "top")}
        | {"crs": same(None, pa.string()), "purity": same(1.0, pa.float64())}
    )


def forget(store: Store) -> None:
    """Have the system drop what it keeps of the pixels, so that they are read from the disk."""
    for path in store.root.glob("*.npy"):
        with path.open("rb") as file:
            os.fsync(file.fileno())  # pages that are still to be written stay
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
