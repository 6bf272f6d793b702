"""What happens to a training batch, on its device, for any number of bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.schema import AugmentSection


def entropy(*keys: int) -> int:
    """A seed mixed from several, so that neighbours such as epochs 1 and 2 share nothing."""
    state = np.random.SeedSequence(keys).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))  # torch takes 63 bits


def generator(device: torch.device, *keys: int) -> torch.Generator:
    """Random numbers that depend on the keys alone, say seed, epoch, step and rank."""
    return torch.Generator(device).manual_seed(entropy(*keys))


def turn(x: Tensor, quarters: Tensor) -> Tensor:
    """Turn each tile of (N, C, H, H) by its own number of quarters (N,), counterclockwise."""
    # A quarter turn is a transposition and a flip; choosing tile by tile costs three passes,
    # whereas cutting the batch into four parts would break its memory order.
    quarters = quarters % 4
    x = _where(quarters % 2 == 1, x.transpose(2, 3), x)
    return flip(x, (quarters == 1) | (quarters == 2), quarters >= 2)


def flip(x: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Mirror those tiles of (N, C, H, W) whose entry of (N,) is true, rows or columns."""
    x = _where(vertical, x.flip(2), x)
    return _where(horizontal, x.flip(3), x)


def _where(chosen: Tensor, there: Tensor, here: Tensor) -> Tensor:
    return torch.where(chosen[:, None, None, None], there, here)


class Augment:
    """Flips, quarter turns, brightness, contrast and noise, in this order, tile by tile.

    Works on raw pixel values, in units of the deviations of the bands, so that amounts mean the
    same for 8 and 16 bits. Values are not clipped; the network takes any number.

    Brightness is one shift for all bands, of one unit for all: the root of their mean variance.
    Haze and sensor offsets shift dark bands as much as bright ones; in each band's own deviation
    the shift would be largest in near infrared, and turn water into land.

    Args:
        section: What, and how much.
        std: Deviation of each band (C,) in the training split.
    """

    def __init__(self, section: AugmentSection, std: Sequence[float]) -> None:
        self.section = section
        self.std = torch.as_tensor(np.asarray(std), dtype=torch.float32)[:, None, None]
        self.unit = float(self.std.square().mean().sqrt())

    def __call__(self, x: Tensor, random: torch.Generator) -> Tensor:
        """(N, C, H, W) float -> the same shape, on the device of both."""
        section = self.section
        if section.flips:
            x = flip(x, *_integers(x, 2, random, rows=2).bool())
        if section.quarter_turns:
            x = turn(x, _integers(x, 4, random)[0])
        if section.contrast:
            factor = (1 + section.contrast * _normal(x, random)).clamp(min=0)
            middle = x.mean(dim=(2, 3), keepdim=True)
            x = middle + factor * (x - middle)
        if section.brightness:
            x = x + section.brightness * self.unit * _normal(x, random)
        if section.noise:
            self.std = self.std.to(x.device)
            # Drawn in the batch's memory order: adding another order would cost a copy.
            n, c, h, w = x.shape
            grain = torch.randn(n, h, w, c, generator=random, device=x.device).permute(0, 3, 1, 2)
            # Some tiles stay clean: the network is used on those, and batch norms must see them.
            amount = section.noise * torch.rand(n, 1, 1, 1, generator=random, device=x.device)
            x = x + amount * self.std * grain
        return x.contiguous(memory_format=torch.channels_last)


def _integers(x: Tensor, high: int, random: torch.Generator, rows: int = 1) -> Tensor:
    """(rows, N) whole numbers below ``high``."""
    return torch.randint(high, (rows, len(x)), generator=random, device=x.device)


def _normal(x: Tensor, random: torch.Generator) -> Tensor:
    """One standard normal number a tile: (N, 1, 1, 1)."""
    return torch.randn(len(x), 1, 1, 1, generator=random, device=x.device)
