"""What may happen to a tile before a network learns from it: pure functions of a batch.

A batch is (N, C, H, W) of raw values, for any number of bands. Amounts are in units of the
deviation of pixels over the training tiles, so that they mean the same for 8 and 16 bits, or in
shares of a tile's side. Each function draws what it needs for each tile by itself, so what becomes
of a tile hangs on no other tile of the batch, nor on how many ranks share it.

Values may leave the range of the source's number type. A shift then keeps what a tile shows, where
a clipped one would blot out its dark or bright half, and a network takes any number.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate

# A shift that all bands share moves a band by so many of its own deviations at most.
MOST = 3.0


class Scale(NamedTuple):
    """Statistics of the training tiles, on the batch's device."""

    mean: Tensor  # (C, 1, 1)
    std: Tensor  # (C, 1, 1)
    unit: float  # the root of the bands' mean variance


class Draws:
    """Random numbers for some tiles of a global batch, say those of a rank.

    They are drawn for all of its tiles: so each gets the same on any number of ranks.

    Args:
        random: Where they come from.
        tiles: Of the global batch.
        own: Which of them (n,) are distorted here; None for all.
    """

    def __init__(
        self, random: torch.Generator, tiles: int, own: slice | Tensor | None = None
    ) -> None:
        self.random, self.tiles, self.own = random, tiles, own

    def shares(self, *shape: int) -> Tensor:
        """(n, *shape) from 0 to 1, evenly spread."""
        return self._own(
            torch.rand(self.tiles, *shape, generator=self.random, device=self.random.device)
        )

    def spread(self) -> Tensor:
        """(n,) from -1 to 1."""
        return 2 * self.shares() - 1

    def normal(self, *shape: int) -> Tensor:
        """(n, *shape) standard normal numbers."""
        return self._own(
            torch.randn(self.tiles, *shape, generator=self.random, device=self.random.device)
        )

    def integers(self, high: int, rows: int = 1) -> Tensor:
        """(rows, n) whole numbers below ``high``."""
        drawn = torch.randint(
            high, (rows, self.tiles), generator=self.random, device=self.random.device
        )
        return drawn if self.own is None else drawn[:, self.own]

    def _own(self, drawn: Tensor) -> Tensor:
        return drawn if self.own is None else drawn[self.own]


def flips(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """Rows, columns, both or neither mirrored."""
    return flip(x, *draws.integers(2, rows=2).bool())


def quarter_turns(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """No, one, two or three quarters."""
    return turn(x, draws.integers(4)[0])


def turn(x: Tensor, quarters: Tensor) -> Tensor:
    """Turn each tile of (N, C, H, H) by its own number of quarters (N,), counterclockwise."""
    return _laid(x, _turned(x.shape[2], x.device), quarters % 4)


def flip(x: Tensor, vertical: Tensor, horizontal: Tensor) -> Tensor:
    """Mirror those tiles of (N, C, H, W) whose entry of (N,) is true, rows or columns."""
    return _laid(x, _mirrored(*x.shape[2:], x.device), 2 * vertical + horizontal)


def _laid(x: Tensor, places: Tensor, which: Tensor) -> Tensor:
    """Pixels of each tile from other places: (K, H W) of them, of which each tile has its own.

    One gather of whole pixels: a pass for each way to lay a tile, and a choice among them, takes
    five times as long.
    """
    n, bands, height, width = x.shape
    starts = torch.arange(n, device=x.device)[:, None] * (height * width)
    pixels = x.permute(0, 2, 3, 1).reshape(-1, bands)  # no copy of a batch in channels_last
    there = pixels.index_select(0, (places[which] + starts).flatten())
    return there.view(n, height, width, bands).permute(0, 3, 1, 2)


@cache
def _mirrored(height: int, width: int, device: torch.device) -> Tensor:
    """(4, H W): each pixel's place in a tile as it is, with columns, rows and both mirrored."""
    places = torch.arange(height * width, device=device).view(height, width)
    ways = (places, places.flip(1), places.flip(0), places.flip(0, 1))
    return torch.stack([way.flatten() for way in ways])


@cache
def _turned(side: int, device: torch.device) -> Tensor:
    """(4, H H): each pixel's place in a tile turned by no to three quarters."""
    places = torch.arange(side * side, device=device).view(side, side)
    return torch.stack([places.rot90(quarters).flatten() for quarters in range(4)])


def move(x: Tensor, rotation: float, zoom: float, shift: float, draws: Draws) -> Tensor:
    """Rotate, scale and shift in one resampling; what comes in at the edges is mirrored.

    Args:
        x: (N, C, H, H).
        rotation: Degrees at most, either way.
        zoom: At most; 0.2 shows from 1 / 1.2 to 1.2 times the tile.
        shift: At most, in shares of a side, along each axis.
        draws: Where the amounts come from, evenly spread.
    """
    angle = math.radians(rotation) * draws.spread()
    factor = torch.exp(math.log1p(zoom) * draws.spread())
    across, down = (2 * shift * draws.spread() for _ in range(2))  # a side is 2 wide here
    cosine, sine = factor * angle.cos(), factor * angle.sin()
    rows = [torch.stack([cosine, -sine, across], 1), torch.stack([sine, cosine, down], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def contrast(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """A factor about the tile's mean of each band, the same for all bands."""
    return _stretched(x, 1 + amount * draws.normal(1, 1, 1))


def band_contrast(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """A factor about the tile's mean, for each band its own."""
    return _stretched(x, 1 + amount * draws.normal(x.shape[1], 1, 1))


def _stretched(x: Tensor, factor: Tensor) -> Tensor:
    middle = x.mean(dim=(2, 3), keepdim=True)
    return middle + factor.clamp(min=0) * (x - middle)


def brightness(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """One shift for all bands, of one unit for all.

    Haze and sensor offsets shift dark bands as much as bright ones; in each band's own deviation
    the shift would be largest in near infrared, and turn water into land.
    """
    return x + _common(amount, scale) * draws.normal(1, 1, 1)


def _common(amount: float, scale: Scale) -> Tensor:
    """So many units for each band (C, 1, 1), but for a faint one no more than it can bear.

    Some sensors have a band far fainter than the others: Sentinel-2's band 10 varies by 5 where the
    unit is 750, and a shift by that would drown all that it shows.
    """
    return (amount * MOST * scale.std).clamp(max=amount * scale.unit)


def band_brightness(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """A shift for each band, of its own deviation: sensors and seasons differ by band."""
    return x + amount * scale.std * draws.normal(x.shape[1], 1, 1)


def haze(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """A veil of uneven thickness: a share of up to ``amount`` of the light is the haze's own.

    The haze is as bright as the scene's bright surfaces, two deviations above the mean.
    """
    coarse = draws.shares(1, 3, 3)
    thickness = amount * interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=True)
    thickness = thickness * draws.shares(1, 1, 1)
    return x + thickness * (scale.mean + 2 * scale.std - x)


def noise(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """Independent noise a pixel, of up to ``amount`` deviations of its band."""
    # Drawn in the batch's memory order: adding another order would cost a copy.
    _, c, h, w = x.shape
    grain = draws.normal(h, w, c).permute(0, 3, 1, 2)
    # Some tiles stay clean: the network is used on those, and batch norms must see them.
    most = amount * draws.shares(1, 1, 1)
    return x + most * scale.std * grain


def scratches(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """In a share ``amount`` of the tiles a straight line, a pixel wide, far too bright or dark."""
    height, width = x.shape[2:]
    down = torch.arange(height, device=x.device)[:, None] - height * draws.shares(1, 1)
    across = torch.arange(width, device=x.device)[None] - width * draws.shares(1, 1)
    angle = math.pi * draws.shares(1, 1)
    line = (down * angle.cos() - across * angle.sin()).abs() < 0.5  # (N, H, W)
    there = draws.shares(1, 1) < amount
    side = torch.where(draws.shares(1, 1) < 0.5, -1.0, 1.0)[:, None]
    jump = side * _common(3.0, scale)
    return torch.where((line & there)[:, None], x.mean(dim=(2, 3), keepdim=True) + jump, x)


def dead_lines(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """In a share ``amount`` of the tiles a row of one band is missing: it holds the minimum."""
    bands, height = x.shape[1:3]
    band = torch.arange(bands, device=x.device) == draws.integers(bands)[0][:, None]
    row = torch.arange(height, device=x.device) == draws.integers(height)[0][:, None]
    there = (draws.shares(1, 1) < amount) & band[..., None] & row[:, None]  # (N, C, H)
    return torch.where(there[..., None], x.amin(dim=(2, 3), keepdim=True), x)


def band_dropout(x: Tensor, amount: float, draws: Draws, scale: Scale) -> Tensor:
    """Each band with a chance of ``amount`` blank, at its mean, which the network sees as 0.

    Never all of them.
    """
    draw = draws.shares(x.shape[1])
    kept = (draw >= amount) | (draw == draw.amax(dim=1, keepdim=True))
    return torch.where(kept[..., None, None], x, scale.mean)
