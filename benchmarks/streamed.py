"""Tiles streamed from the disk, over the same batches from memory.

The default model with its augmentation. The store is four times larger than the memory allowed to
it, and the system forgets its pages before each run, which goes on over the end of a group of
windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks import stores
from benchmarks.paired import Bar, LeftOut, Ratio, Row, compare
from benchmarks.training import CPU, NO_GPU, lightning, params
from pipeline.feeding import MEBIBYTE, Resident, Streamed, choose, room
from pipeline.order import GROUP_WINDOWS, WINDOW_BYTES
from pipeline.store import Store

ROOM = 3 * GROUP_WINDOWS * WINDOW_BYTES  # what streaming holds at most
TILES = 4 * ROOM // stores.TILE_BYTES
TRAINED = 24_000  # of them; a group holds 21,376
SAID = "streamed over resident, vgg, augmentation default"
BAR = Bar(0.8)


def measure() -> Iterator[Row]:
    """On the CPU, and on a GPU if there is one."""
    with TemporaryDirectory() as folder:
        store = stores.write(Path(folder) / "tiles", TILES)
        yield _measure(store, CPU, SAID)
        said = f"{SAID}, on a GPU"
        if torch.cuda.is_available():
            yield _measure(store, torch.device("cuda"), said)
        else:
            yield LeftOut(said, BAR, NO_GPU)


def _measure(store: Store, device: torch.device, said: str) -> Ratio:
    size, limit = store.tile_bytes * store.count("train"), ROOM // MEBIBYTE
    mode, why = choose("auto", size, room(device, 1, limit), "memory")
    assert mode == "streamed", why
    options = params("vgg", "default")
    resident = Resident(store.pixels("train"), store.labels("train"), device)
    steps = (TRAINED if device == CPU else TILES) // options.train.batch_size

    def ours() -> None:
        stores.forget(store)
        lightning(options, Streamed(store, "train", device), steps)

    def other() -> None:
        lightning(options, resident, steps)

    amount = steps * options.train.batch_size
    return compare(said, ours, other, BAR, tiles=(amount, amount), pairs=4)
