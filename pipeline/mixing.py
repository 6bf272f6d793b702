"""Two training tiles in one, with the labels of both in shares: mixup and cutmix.

What is mixed with what is drawn on the host, for the tiles of all ranks from (seed, epoch, step)
alone: so it is the same on any number of ranks, and each knows what the tiles of all others weigh.
The pixels are mixed on their device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.schema import AugmentSection


class Mixture(NamedTuple):
    """What else is in the tiles of a batch."""

    labels: Tensor  # (n,) int64, of the second tile in each
    shares: Tensor  # (n,) float32, of the first tile; the rest is the second's


class Plan(NamedTuple):
    """How n tiles of a batch, its first ones, are mixed with others of it."""

    partners: NDArray[np.int64]  # (n,): the second tile of each
    shares: NDArray[np.float64]  # (n,): of the first tile in each
    boxes: NDArray[np.int64] | None  # (n, 4): top, bottom, left, right of the second; None: mixup

    def weight(self, weights: NDArray[np.float64]) -> float:
        """Weight of the mixed tiles in the loss, of the weights of all tiles of the batch."""
        own = weights[: len(self.shares)]
        return float(self.shares @ own + (1 - self.shares) @ weights[self.partners])

    def part(self, own: slice) -> tuple[NDArray[np.int64], Plan]:
        """Places of what it takes to mix some tiles, those tiles first; how these are mixed."""
        tiles = len(self.shares)
        mine, partners = np.arange(tiles)[own], self.partners[own]
        places = np.concatenate([mine, np.setdiff1d(partners, mine)])
        where = np.empty(tiles, np.int64)
        where[places] = np.arange(len(places))
        boxes = None if self.boxes is None else self.boxes[own]
        return places, Plan(where[partners], self.shares[own], boxes)


def mixes(section: AugmentSection) -> bool:
    """Whether tiles are mixed at all."""
    return bool(section.mixup or section.cutmix)


def plan(section: AugmentSection, tiles: int, size: tuple[int, int], *keys: int) -> Plan:
    """Draw how a batch is mixed; each tile has a partner and a share of its own.

    Args:
        section: The alphas, of which one is above 0.
        tiles: Of the batch.
        size: (H, W) of a tile.
        keys: What the draw depends on.
    """
    random = np.random.default_rng(np.random.SeedSequence(keys, spawn_key=(2,)))
    cut = section.cutmix and (not section.mixup or random.random() < 0.5)
    alpha = section.cutmix if cut else section.mixup
    partners, shares = random.permutation(tiles), random.beta(alpha, alpha, tiles)
    if not cut:
        return Plan(partners, shares, None)
    boxes = _boxes(shares, size, random)
    area = (boxes[:, 1] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 2])
    return Plan(partners, 1 - area / (size[0] * size[1]), boxes)


def _boxes(
    shares: NDArray[np.float64], size: tuple[int, int], random: np.random.Generator
) -> NDArray[np.int64]:
    """Rectangles of the tile's form around any pixel, cut at the tile's edges (Yun et al. 2019)."""
    edges = []
    for length in size:
        side = np.rint(length * np.sqrt(1 - shares)).astype(np.int64)
        start = random.integers(length, size=len(shares)) - side // 2
        edges += [start.clip(0), (start + side).clip(max=length)]
    return np.stack(edges, axis=1)


def mix(pixels: Tensor, labels: Tensor, how: Plan) -> tuple[Tensor, Mixture]:
    """Mix the first n tiles of a batch (N, C, H, W), and tell what is in them.

    After Zhang et al. 2018.
    """
    device, own = pixels.device, pixels[: len(how.shares)]
    partners = torch.from_numpy(how.partners).to(device, non_blocking=True)
    shares = torch.from_numpy(how.shares.astype(np.float32)).to(device, non_blocking=True)
    others = pixels[partners]
    if how.boxes is None:
        made = torch.lerp(others, own, shares[:, None, None, None])
    else:
        boxes = torch.from_numpy(how.boxes).to(device, non_blocking=True)
        made = torch.where(_inside(boxes, own), others, own)
    made = made.contiguous(memory_format=torch.channels_last)
    return made, Mixture(labels[partners], shares)


def _inside(boxes: Tensor, pixels: Tensor) -> Tensor:
    """Which pixels (n, 1, H, W) lie in the box of their tile."""
    top, bottom, left, right = boxes[:, :, None].unbind(1)
    rows, columns = (torch.arange(n, device=boxes.device) for n in pixels.shape[2:])
    down, across = (rows >= top) & (rows < bottom), (columns >= left) & (columns < right)
    return (down[:, :, None] & across[:, None, :])[:, None]
