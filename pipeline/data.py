"""Batches for training: a split lies on the device as it was stored, and batches are gathers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.augment import Augment, generator
from pipeline.bundle import as_input
from pipeline.errors import TrainingError

if TYPE_CHECKING:
    from pipeline.schema import AugmentSection, TrainSection
    from pipeline.store import Store

# torch gathers few unsigned types; their bits travel as the signed type of the same width.
CARRIER = {torch.uint16: torch.int16, torch.uint32: torch.int32, torch.uint64: torch.int64}
# Share of the free memory of a GPU that a split may take; the rest is for the network.
RESIDENT_SHARE = 0.6


class Batch(NamedTuple):
    """A rank's part of one step."""

    pixels: Tensor  # (n, C, H, W) float32, channels_last
    labels: Tensor  # (n,) int64
    share: float  # of the loss: the mean over ranks of share x own mean is the global mean


class Split:
    """All tiles of a split on one device, in their own number type.

    Args:
        pixels: (N, H, W, C).
        labels: (N,).
        device: Where batches are wanted. A split too large for a GPU stays with the host and
            batches travel.
    """

    def __init__(self, pixels: NDArray[Any], labels: NDArray[Any], device: torch.device) -> None:
        self.device = device
        home = device if _fits(pixels.nbytes, device) else torch.device("cpu")
        # A read-only map of a file is copied: torch has no read-only tensors.
        whole = torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
        self.type = whole.dtype
        self.pixels = whole.view(CARRIER.get(whole.dtype, whole.dtype)).to(home)
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.int64)).to(home)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Tiles (n, C, H, W) as floats and labels (n,) at rows of the split."""
        index = torch.from_numpy(rows).to(self.pixels.device)
        pixels = self.pixels.index_select(0, index).to(self.device, non_blocking=True)
        labels = self.labels.index_select(0, index).to(self.device, non_blocking=True)
        return as_input(pixels.view(self.type)), labels


def _fits(size: int, device: torch.device) -> bool:
    if device.type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return size < RESIDENT_SHARE * free


def steps(tiles: int, batch_size: int, ranks: int) -> int:
    """Steps of an epoch."""
    return len(_borders(tiles, batch_size, ranks)) - 1


def _borders(tiles: int, batch_size: int, ranks: int) -> list[int]:
    """Where global batches begin and end in a shuffled split.

    A last batch that does not hold two tiles for each rank joins the one before: no rank idles,
    and batch normalization needs two values to have a deviation.
    """
    if tiles < ranks:
        raise TrainingError(
            f"Expected a training tile or more for each of {ranks} devices, got {tiles}; set "
            "trainer.devices to less."
        )
    whole = batch_size * ranks
    borders = [*range(0, tiles, whole), tiles]
    if len(borders) > 2 and tiles - borders[-2] < 2 * ranks:
        del borders[-2]
    return borders


def shares(
    tiles: int, *, batch_size: int, seed: int, epoch: int, rank: int = 0, ranks: int = 1
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """The rows of each global batch of an epoch, and the part of them that one rank takes.

    A function of its arguments alone. Parts of different ranks are disjoint and make up the
    batch; a batch of ``n`` tiles gives each rank n / ranks of them, rounded up or down.
    """
    order = np.random.default_rng(np.random.SeedSequence((seed, epoch))).permutation(tiles)
    for start, stop in pairwise(_borders(tiles, batch_size, ranks)):
        batch = order[start:stop]
        yield batch, np.ascontiguousarray(batch[rank::ranks])


class TrainingBatches:
    """The augmented batches of one epoch, those of one rank."""

    def __init__(
        self,
        split: Split,
        augment: Augment,
        weights: NDArray[np.float64],
        *,
        batch_size: int,
        seed: int,
        epoch: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        self.split = split
        self.augment = augment
        self.weights = weights[split.labels.cpu().numpy()]  # (N,): of each tile in the loss
        self.seed = seed
        self.epoch = epoch
        self.batch_size = batch_size
        self.rank = rank
        self.ranks = ranks

    def __len__(self) -> int:
        return steps(len(self.split), self.batch_size, self.ranks)

    def __iter__(self) -> Iterator[Batch]:
        parts = shares(
            len(self.split),
            batch_size=self.batch_size,
            seed=self.seed,
            epoch=self.epoch,
            rank=self.rank,
            ranks=self.ranks,
        )
        for step, (batch, rows) in enumerate(parts):
            random = generator(self.split.device, self.seed, self.epoch, step, self.rank)
            pixels, labels = self.split.take(rows)
            yield Batch(self.augment(pixels, random), labels, self._share(batch, rows))

    def _share(self, batch: NDArray[np.int64], rows: NDArray[np.int64]) -> float:
        """Ranks x own weight / weight of the global batch, as each rank's loss is a mean."""
        total = self.weights[batch].sum()
        return float(self.ranks * self.weights[rows].sum() / total) if total else 0.0


class PlainBatches:
    """A split in its order, untouched, once: one rank's slice of it."""

    def __init__(self, split: Split, *, batch_size: int, rank: int = 0, ranks: int = 1) -> None:
        self.split = split
        self.batch_size = batch_size
        self.rows = np.array_split(np.arange(len(split)), ranks)[rank]

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.rows), self.batch_size):
            yield Batch(*self.split.take(self.rows[start : start + self.batch_size]), 1.0)


class TileData(pl.LightningDataModule):
    """Training and validation batches of a tile store.

    Args:
        store: The tiles.
        train: Batch size and seed.
        augment: What happens to training batches.
        weights: (K,) of each class in the loss.
    """

    def __init__(
        self,
        store: Store,
        *,
        train: TrainSection,
        augment: AugmentSection,
        weights: NDArray[np.float64],
    ) -> None:
        super().__init__()
        self.store = store
        self.options = train
        self.augment = Augment(augment, store.std.tolist())
        self.weights = weights
        self.splits: dict[str, Split] = {}

    def setup(self, stage: str) -> None:
        """Bring the tiles to the device."""
        device = self._trainer().strategy.root_device
        for name in ("train", "validation"):
            if self.store.count(name) == 0:
                raise TrainingError(f"Expected tiles in the {name} split, got none; see split.")
            self.splits[name] = Split(self.store.pixels(name), self.store.labels(name), device)

    def train_dataloader(self) -> TrainingBatches:
        """Batches of the epoch that is about to begin; asked for anew each epoch."""
        trainer = self._trainer()
        return TrainingBatches(
            self.splits["train"],
            self.augment,
            self.weights,
            batch_size=self.options.batch_size,
            seed=self.options.seed,
            epoch=trainer.current_epoch,
            rank=trainer.global_rank,
            ranks=trainer.world_size,
        )

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
