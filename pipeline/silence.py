"""Layers that say nothing: what they give is the same for all of some random tiles."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pipeline.analysis import observe, parts
from pipeline.network import Network
from pipeline.wording import BATCH_NORMS

TILES = 8  # that a layer's output is compared over
STEADY = 1e-6  # of the largest value: differences below are rounding


class Silent(NamedTuple):
    """A layer behind which tiles can't be told apart."""

    layer: str  # dotted
    training: bool  # seen while training; else while predicting
    finite: bool  # the same values; else no numbers at all


def first_silent(network: Network, mean: Sequence[float], std: Sequence[float]) -> Silent | None:
    """The first layer whose output does not vary over tiles, or is not finite.

    Random tiles like those of the training split pass, as when training and as when predicting: a
    dropout of everything shows in training alone, and elsewhere dropout hides what is constant.

    Args:
        network: Any network; left as it was.
        mean: (C,) of each band.
        std: (C,) deviations.
    """
    tiles = random_tiles(network, mean, std)
    copy = deepcopy(network)
    for module in copy.modules():
        if isinstance(module, BATCH_NORMS):
            module.momentum = None  # one pass then gives it the statistics that training would
    names = {module: name for name, module in parts(copy)}
    for training in (True, False):
        copy.train(training)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            seen = observe(copy, tiles, lambda _, output: _spread(output))
        for module, state in seen.items():
            if module in names and state != "varies":
                return Silent(names[module], training, state == "constant")
    return None


def _spread(output: Tensor) -> Literal["varies", "constant", "infinite"]:
    """Whether a layer's output differs from tile to tile anywhere."""
    if not bool(output.isfinite().all()):
        return "infinite"
    spread = (output.amax(dim=0) - output.amin(dim=0)).max()
    return "varies" if bool(spread > STEADY * output.abs().max()) else "constant"


def random_tiles(network: Network, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Tiles (N, C, H, W) of the bands' mean and deviation, half of it between tiles.

    Real tiles differ in their colour too, not in their texture alone, which a mean over positions
    would nearly level. Bands that lie well above 0 get no negative values.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (TILES, *network.input_shape)
    tile = torch.randn(*shape[:2], 1, 1, generator=generator)
    pixel = torch.randn(*shape, generator=generator)
    middle, deviation = (torch.tensor(values).float()[:, None, None] for values in (mean, std))
    values = middle + deviation * (tile + pixel) / 2**0.5
    values = torch.where(middle >= deviation, values.clamp_min(0), values)
    return values.to(next(network.parameters(), values).device)
