"""Time that a tile takes in an epoch of 100,000 or 1,000,000 tiles, over 10,000: 1 is linear.

The network is `lecture`. The smaller stores are measured before and after the large one.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import numpy as np
import pytorch_lightning as pl

from benchmarks import stores
from benchmarks.paired import Bar, Ratio, Row
from benchmarks.training import CPU, params, task, trainer
from pipeline.data import TileData
from pipeline.feeding import Mode
from pipeline.order import steps
from pipeline.schema import DataSection
from pipeline.store import Store

EPOCHS = {10_000: 8, 100_000: 1, 1_000_000: 1}  # of each size
BAR = Bar(0.9, 1.1)


class Timed(pl.Callback):
    """Seconds of all epochs, validation included."""

    def on_train_start(self, *_: object) -> None:
        """Tiles are in their place by now."""
        self.began = perf_counter()

    def on_train_end(self, *_: object) -> None:
        """Stop."""
        self.seconds = perf_counter() - self.began


def measure() -> Iterator[Row]:
    """Resident and streamed."""
    with TemporaryDirectory() as folder:
        made = {count: stores.write(Path(folder) / f"{count}", count) for count in EPOCHS}
        modes: tuple[Mode, ...] = ("resident", "streamed")
        for mode in modes:
            yield from _measure(made, mode)


def _measure(made: dict[int, Store], mode: Mode) -> Iterator[Ratio]:
    few, some, many = made
    seen: dict[int, list[float]] = {count: [] for count in made}
    for count in (few, some, many, some, few):
        seen[count].append(_seconds(made[count], mode) / count)
    seen[many] *= 2  # over what was before it, and over what came after
    for count in (some, many):
        quotients = tuple(a / b for a, b in zip(seen[count], seen[few], strict=True))
        name = f"time a tile, {count:,} tiles over {few:,}, lecture, {mode}"
        yield Ratio(name, quotients, BAR, *(_told(seen[one]) for one in (count, few)))


def _told(times: list[float]) -> str:
    return f"{1e6 * statistics.median(times):.1f} µs"


def _seconds(store: Store, mode: Mode) -> float:
    """Of an epoch."""
    options, epochs = params("lecture"), EPOCHS[store.count("train")]
    tiles = TileData(
        store, train=options.train, augment=options.augment, weights=np.ones(len(store.classes)),
        feed=DataSection(mode=mode, memory=None),
    )  # fmt: skip
    clock = Timed()
    lightning = trainer(options, CPU, [clock])
    lightning.fit_loop.max_epochs = epochs
    epoch_steps = steps(store.count("train"), options.train.batch_size, 1)
    lightning.fit(task(options, epoch_steps, epochs), datamodule=tiles)
    return clock.seconds / epochs
