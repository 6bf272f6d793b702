"""Batches for training and validation: which tiles, in which order, and what happens to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import sampling
from pipeline.augment import Augment, generators
from pipeline.console import say
from pipeline.distortions import Draws
from pipeline.errors import TrainingError
from pipeline.feeding import Mode, Resident, Streamed, Tiles, choose, room
from pipeline.mixing import Mixture, mix, mixes, plan
from pipeline.order import Order, Rows, bootstrap, borders, shares, steps

if TYPE_CHECKING:
    from pipeline.schema import AugmentSection, DataSection, TrainSection
    from pipeline.store import Store


CHUNK = 64  # steps that a task takes without coming back to Lightning


class Batch(NamedTuple):
    """A rank's part of one step."""

    pixels: Tensor  # (n, C, H, W) float32, channels_last
    labels: Tensor  # (n,) int64
    share: float  # of the loss: the mean over ranks of share x own mean is the global mean
    mixture: Mixture | None = None  # what else is in the tiles

    def pieces(self, count: int) -> list[Batch]:
        """So many pieces of nearly one size; less where a batch norm would see a single tile."""
        count = min(count, len(self.labels) // 2)
        if count < 2:
            return [self]
        pixels, labels = self.pixels.tensor_split(count), self.labels.tensor_split(count)
        mixtures: list[Mixture | None] = [None] * count
        if self.mixture is not None:
            parts = (part.tensor_split(count) for part in self.mixture)
            mixtures = [Mixture(*one) for one in zip(*parts, strict=True)]
        each = zip(pixels, labels, mixtures, strict=True)
        return [Batch(p, own, self.share, mixture) for p, own, mixture in each]


class TrainingBatches:
    """The augmented batches of one epoch, those of one rank."""

    def __init__(
        self,
        tiles: Tiles,
        augment: Augment,
        weights: NDArray[np.float64],
        *,
        batch_size: int,
        seed: int,
        epoch: int,
        rank: int = 0,
        ranks: int = 1,
        counts: Rows | None = None,
    ) -> None:
        self.tiles = tiles
        self.augment = augment
        self.class_weights, self.labels = weights, tiles.labels.cpu().numpy()
        self.turns = _turns(len(tiles), seed, epoch) if augment.alternates else None
        self.order = Order(len(tiles), tiles.tile_bytes, seed, epoch, counts)
        self.batch_size = batch_size
        self.rank = rank
        self.ranks = ranks

    def __len__(self) -> int:
        return steps(self.order.length, self.batch_size, self.ranks)

    def __iter__(self) -> Iterator[Batch]:
        return self.after(0)

    def after(self, done: int) -> Iterator[Batch]:
        """The batches after so many steps of the epoch."""
        parts = shares(self.order, batch_size=self.batch_size, rank=self.rank, ranks=self.ranks)
        self.tiles.start(self.order, borders(self.order.length, self.batch_size, self.ranks)[done])
        # Of the global batch: what becomes of a tile is the same on any number of ranks.
        randoms = generators(self.tiles.device, len(self), self.order.seed or 0, self.order.epoch)
        make = self._mixed if mixes(self.augment.section) else self._plain
        all_steps = enumerate(zip(parts, randoms, strict=True))
        for step, ((batch, rows), random) in islice(all_steps, done, None):
            yield make(batch, rows, random, step)

    def _plain(self, batch: Rows, rows: Rows, random: torch.Generator, _: int) -> Batch:
        own = None if self.ranks == 1 else slice(self.rank, None, self.ranks)
        pixels, labels = self._augmented(rows, Draws(random, len(batch), own))
        return Batch(pixels, labels, self._share(batch, rows))

    def _augmented(self, rows: Rows, draws: Draws) -> tuple[Tensor, Tensor]:
        pixels, labels = self.tiles.take(rows)
        return self.augment(pixels, draws, self._ways(rows)), labels

    def _ways(self, rows: Rows) -> Tensor | None:
        if self.turns is None:
            return None
        return torch.from_numpy(self.turns[rows]).to(self.tiles.device, non_blocking=True)

    def _share(self, batch: Rows, rows: Rows) -> float:
        """Ranks x own weight / weight of the global batch, as each rank's loss is a mean."""
        if self.ranks == 1:
            return 1.0
        total = self.weights(batch).sum()
        return float(self.ranks * self.weights(rows).sum() / total) if total else 0.0

    def weights(self, rows: Rows) -> NDArray[np.float64]:
        """Weight in the loss of each of these tiles."""
        return np.asarray(self.class_weights[self.labels[rows]])

    def _mixed(self, batch: Rows, rows: Rows, random: torch.Generator, step: int) -> Batch:
        """A batch with its tiles mixed, with those of other ranks, too."""
        height, width, _ = self.tiles.tile_shape
        keys = (self.order.seed or 0, self.order.epoch, step)
        whole = plan(self.augment.section, len(batch), (height, width), *keys)
        places, how = whole.part(slice(self.rank, None, self.ranks))
        own = None if self.ranks == 1 else torch.from_numpy(places).to(self.tiles.device)
        pixels, labels = self._augmented(batch[places], Draws(random, len(batch), own))
        total = whole.weight(self.weights(batch))
        share = self.ranks * how.weight(self.weights(batch[places])) / total if total else 0.0
        pixels, mixture = mix(pixels, labels, how)
        return Batch(pixels, labels[: len(rows)], share, mixture)


def _turns(tiles: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """How each tile (N,) is mirrored in an epoch: the four ways by turns, from one of its own.

    So four epochs show all four, and no two epochs that follow each other show the same one, as
    drawn flips may (Jordan 2024, arXiv 2404.00498, of two ways).
    """
    random = np.random.default_rng(np.random.SeedSequence((seed,), spawn_key=(3,)))
    return (random.integers(4, size=tiles) + epoch) % 4


class Batches(Protocol):
    """The batches of an epoch."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Batch]:
        """Each once, in order."""

    def after(self, done: int) -> Iterator[Batch]:
        """The same without so many at the beginning."""


class Chunk:
    """Some batches in a row, each made when it is asked for."""

    def __init__(self, batches: Iterator[Batch], count: int) -> None:
        self.batches = batches
        self.count = count

    def __iter__(self) -> Iterator[Batch]:
        return islice(self.batches, self.count)


class Chunks:
    """The batches of an epoch in chunks, of which Lightning takes one at a time.

    What Lightning does around each batch takes longer than a step of a small network on small
    tiles: with the lecture's network a third of the time went there.

    Args:
        batches: Of the epoch.
        done: How many of them were taken before training was broken off.
    """

    def __init__(self, batches: Batches, done: int = 0) -> None:
        self.batches = batches
        self.done = done

    def __len__(self) -> int:
        return math.ceil((len(self.batches) - self.done) / CHUNK)

    def __iter__(self) -> Iterator[Chunk]:
        batches, left = self.batches.after(self.done), len(self.batches) - self.done
        while left > 0:
            yield Chunk(batches, min(CHUNK, left))
            left -= CHUNK

    def first(self) -> Chunk:
        """The first chunk of the whole epoch."""
        return Chunk(iter(self.batches), CHUNK)


class PlainBatches:
    """A split in its order, untouched, once: one rank's slice of it.

    A rank that gets no tiles has a batch of none: without one Lightning would leave its validation
    out, and the sums over all ranks would wait for it.
    """

    def __init__(self, tiles: Tiles, *, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.tiles = tiles
        self.batch_size = batch_size
        start, stop = (math.ceil(len(tiles) * share / ranks) for share in (rank, rank + 1))
        self.rows = range(start, stop)

    def __len__(self) -> int:
        return max(1, math.ceil(len(self.rows) / self.batch_size))

    def __iter__(self) -> Iterator[Batch]:
        if not self.rows:
            height, width, bands = self.tiles.tile_shape
            pixels = torch.empty(0, bands, height, width, device=self.tiles.device)
            yield Batch(pixels, self.tiles.labels[:0].long(), 1.0)
            return
        self.tiles.start(Order(len(self.tiles), self.tiles.tile_bytes))
        for start in range(0, len(self.rows), self.batch_size):
            rows = np.asarray(self.rows[start : start + self.batch_size])
            yield Batch(*self.tiles.take(rows), 1.0)


class TileData(pl.LightningDataModule):
    """Training and validation batches of a tile store.

    Args:
        store: The tiles.
        train: Batch size and seed.
        augment: What happens to training batches.
        weights: (K,) of each class in the loss.
        feed: Resident or streamed, and how much memory tiles may take.
    """

    def __init__(
        self,
        store: Store,
        *,
        train: TrainSection,
        augment: AugmentSection,
        weights: NDArray[np.float64],
        feed: DataSection,
    ) -> None:
        super().__init__()
        self.store = store
        self.options = train
        self.augment = Augment(augment, store.mean.tolist(), store.std.tolist())
        self.weights = weights
        self.factors = sampling.factors(train.sampling, store.classes, store.counts["train"])
        self.feed = feed
        self.done: Callable[[], int] = lambda: 0  # steps of the epoch that were taken before
        self.splits: dict[str, Tiles] = {}

    def setup(self, stage: str) -> None:
        """Bring the tiles to the device, or get ready to read them; say which, and why."""
        trainer = self._trainer()
        device = trainer.strategy.root_device
        names = ("train", "validation")
        for name in names:
            if self.store.count(name) == 0:
                raise TrainingError(f"Expected tiles in the {name} split, got none; see split.")
        size = self.store.tile_bytes * sum(map(self.store.count, names))
        processes = max(1, trainer.world_size // trainer.num_nodes)
        where = "GPU memory" if device.type == "cuda" else "memory"
        mode, why = choose(self.feed.mode, size, room(device, processes, self.feed.memory), where)
        if trainer.is_global_zero:
            say(f"Tiles {mode}: {why}.")
        for name in names:
            self.splits[name] = self._tiles(name, mode, device)

    def _tiles(self, name: str, mode: Mode, device: torch.device) -> Tiles:
        if mode == "streamed":
            return Streamed(self.store, name, device)
        return Resident(self.store.pixels(name), self.store.labels(name), device)

    def train_dataloader(self) -> Chunks:
        """Batches of the epoch that is about to begin; asked for anew each epoch."""
        trainer = self._trainer()
        batches = TrainingBatches(
            self.splits["train"],
            self.augment,
            self.weights,
            batch_size=self.options.batch_size * self.options.accumulate,
            seed=self.options.seed,
            epoch=trainer.current_epoch,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
            counts=self._counts(trainer.current_epoch),
        )
        return Chunks(batches, self.done())

    def _counts(self, epoch: int) -> Rows | None:
        """How often each training tile comes in an epoch; None for once."""
        tiles, seed = self.splits["train"], self.options.seed
        if self.options.bootstrap:
            return bootstrap(len(tiles), seed)
        if self.factors is None:
            return None
        return sampling.draw(tiles.labels.cpu().numpy(), self.factors, seed=seed, epoch=epoch)

    def val_dataloader(self) -> PlainBatches:
        """The validation split, each tile on one rank."""
        trainer = self._trainer()
        # Without gradients a batch takes a fraction of the memory, and large ones run faster.
        return PlainBatches(
            self.splits["validation"],
            batch_size=4 * self.options.batch_size,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
        )

    def _trainer(self) -> pl.Trainer:
        assert self.trainer is not None, "Lightning sets the trainer before it calls a hook"
        return self.trainer
