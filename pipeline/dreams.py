"""Tiles that no camera saw: those that excite a class, or a filter, most.

Erhan et al. 2009 climb the gradient of an output from a random tile. Bare pixels end in noise; so,
after Olah et al. 2017 (Feature Visualization), the ascent is in the tile's Fourier spectrum, low
frequencies first, with bands that vary together as they do in training, in a tile that is shifted
at each step, and that pays for roughness. Values stay between percentiles 1 and 99 of the training
pixels of each band. Of a class it is the log-odds that are climbed, log p / (1 - p): its output
alone might rise with those of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.errors import NetworkError
from pipeline.subjects import PASSES, Subject

Floats = NDArray[np.float32]
RANGE = (1.0, 99.0)  # percentiles of the training pixels that a dream stays between
RATE = 0.05  # of Adam
ROUGHNESS = 0.3  # cost of differences between neighbours, and
SIZE = 0.05  # of what is far from the mean, both in shares of the output's own size
LEAK = 0.01  # of the gradient that a ReLU lets through where it is shut
SHIFT = 8  # a tile is shifted by up to an eighth of its side


@dataclass(frozen=True)
class Plausible:
    """What pixels of the training tiles are like."""

    mean: NDArray[np.float64]  # (C,)
    deviation: NDArray[np.float64]
    low: NDArray[np.float64]  # no dream goes below, nor above high
    high: NDArray[np.float64]
    mixing: NDArray[np.float64]  # (C, C): makes bands vary together that were independent

    @classmethod
    def of(cls, pixels: NDArray[Any]) -> Plausible:
        """Of training tiles (N, H, W, C)."""
        flat = pixels.reshape(-1, pixels.shape[-1]).astype(np.float64)
        mean, deviation = flat.mean(axis=0), flat.std(axis=0)
        deviation = np.where(deviation > 0, deviation, 1.0)
        low, high = np.percentile(flat, RANGE, axis=0)
        normalized = (flat - mean) / deviation
        together = normalized.T @ normalized / len(flat) + 1e-4 * np.eye(len(mean))
        high = np.where(high > low, high, low + 1e-3)
        return cls(mean, deviation, low, high, np.linalg.cholesky(together))

    def pixels(self, free: Tensor) -> Tensor:
        """Any values (N, C, H, W), 0 the mean and 1 a deviation near it -> raw ones in the range.

        A logistic curve, not a cut: at a cut the gradient would end.
        """
        numbers = (self.mean, self.deviation, self.low, self.high)
        mean, deviation, low, high = (
            torch.as_tensor(some, dtype=torch.float32, device=free.device)[:, None, None]
            for some in numbers
        )
        middle = ((mean - low) / (high - low)).clamp(0.05, 0.95)
        slope = deviation / ((high - low) * middle * (1 - middle))
        mixing = torch.as_tensor(self.mixing, dtype=torch.float32, device=free.device)
        mixed = torch.einsum("bc,nchw->nbhw", mixing, free)
        return low + (high - low) * torch.sigmoid(torch.logit(middle) + slope * mixed)


@dataclass(frozen=True)
class Dream:
    """What came of an ascent."""

    pixels: Floats  # (N, H, W, C) raw values
    start: Floats  # (N,) what was excited, before
    reached: Floats  # (N,) and after


def dream(
    network: nn.Module,
    plausible: Plausible,
    side: int,
    channels: Sequence[int],
    layer: str | None = None,
    steps: int = 64,
    starts: int = 3,
    seed: int = 0,
) -> Dream:
    """Tiles that excite outputs of a layer most, a tile a channel.

    Args:
        network: Raw tiles (N, C, H, W) -> outputs; it is left as it is.
        plausible: What pixels may be like.
        side: Of a tile, in pixels.
        channels: Which outputs: of a layer with maps, the mean over the map.
        layer: By name; None: the network itself, of whose outputs, the classes, the log-odds count.
        steps: Of the ascent.
        starts: Random tiles to start from, of which the one that gets highest is kept: from a
            bright start the way to a dark class, say, may go over a ridge.
        seed: The same gives the same tiles.

    Raises:
        NetworkError: No such layer, or a channel that it lacks.
    """
    subject = Subject.of(network, len(plausible.mean), scored=False)
    _leak(subject.network)
    device = subject.mean.device
    chance = torch.Generator().manual_seed(seed)
    picture = _Spectrum(starts * len(channels), len(plausible.mean), side, chance, device)
    wanted = torch.as_tensor(list(channels) * starts, device=device)
    optimizer = torch.optim.Adam([picture.values], lr=RATE)
    with _heard(subject.network, layer) as heard:
        with torch.no_grad():
            start = _of_channels(heard(plausible.pixels(picture.free())), wanted)
        for _ in range(steps):
            optimizer.zero_grad()
            free = picture.free()
            moved = plausible.pixels(free).roll(_shift(side, chance), dims=(2, 3))
            reached = _of_channels(heard(moved), wanted)
            torch.autograd.backward((_cost(free) * reached.detach().abs() - reached).sum())
            optimizer.step()
        with torch.no_grad():
            x = plausible.pixels(picture.free())
            reached = _of_channels(heard(x), wanted)
    best = reached.view(starts, -1).argmax(dim=0) * len(channels)
    kept = best + torch.arange(len(channels), device=device)
    pixels = x[kept].permute(0, 2, 3, 1).cpu().numpy()
    return Dream(pixels, start[kept].cpu().numpy(), reached[kept].cpu().numpy())


def answers(network: nn.Module, pixels: NDArray[Any], layer: str | None = None) -> Floats:
    """What a layer's channels answer to tiles (N, H, W, C): (N, K), of maps their means.

    Without a layer the log-odds of the classes.
    """
    subject = Subject.of(network, pixels.shape[-1], scored=False)
    parts = []
    with torch.no_grad(), _heard(subject.network, layer) as heard:
        for start in range(0, len(pixels), PASSES):
            out = heard(subject.tensor(pixels[start : start + PASSES]))
            parts.append(out.flatten(2).mean(dim=2) if out.dim() > 2 else out)
    return torch.cat(parts).cpu().numpy()


def log_odds(logits: Tensor) -> Tensor:
    """The log of each class's probability over that of all others together: (N, K) of (N, K)."""
    count = logits.shape[1]
    own = torch.eye(count, dtype=torch.bool, device=logits.device)
    others = logits[:, None].expand(-1, count, -1).masked_fill(own, -torch.inf)
    odds: Tensor = logits - others.logsumexp(dim=2)
    return odds


class _Leaking(nn.Module):
    """A ReLU that lets a little of the gradient through where it is shut.

    A filter that no start excites would have none to climb. What it puts out is a ReLU's.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape."""
        below = LEAK * x.clamp(max=0)
        return x.clamp(min=0) + below - below.detach()


def _leak(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.ReLU):
                setattr(module, name, _Leaking())


class _Spectrum:
    """Tiles of free values as their Fourier coefficients, low frequencies the quickest to grow."""

    def __init__(
        self, count: int, bands: int, side: int, chance: torch.Generator, device: torch.device
    ) -> None:
        shape = (count, bands, side, side // 2 + 1, 2)
        values = 0.1 * torch.randn(shape, generator=chance)
        values[:, :, 0, 0] *= 10  # levels from dark to bright
        self.values = values.to(device).requires_grad_()
        self.side = side
        rows, columns = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
        frequency = (rows.square() + columns.square()).sqrt().clamp(min=1 / side)
        self.weights = 1 / (frequency * side**0.5)  # 1 / f, as natural pictures have it
        self.weights[0, 0] = side  # the level: one step of it moves all pixels alike
        self.weights = self.weights.to(device)

    def free(self) -> Tensor:
        """(N, C, side, side)."""
        weighed = torch.view_as_complex(self.values) * self.weights
        free: Tensor = torch.fft.irfft2(weighed, s=(self.side, self.side), norm="ortho")
        return free


def _shift(side: int, chance: torch.Generator) -> tuple[int, int]:
    most = side // SHIFT
    down, across = torch.randint(-most, most + 1, (2,), generator=chance).tolist()
    return down, across


def _cost(free: Tensor) -> Tensor:
    """What a tile pays (N,) for its total variation and for being far from the mean."""
    down = (free[:, :, 1:] - free[:, :, :-1]).abs().mean(dim=(1, 2, 3))
    across = (free[..., 1:] - free[..., :-1]).abs().mean(dim=(1, 2, 3))
    return ROUGHNESS * (down + across) + SIZE * free.square().mean(dim=(1, 2, 3))


def _of_channels(out: Tensor, channels: Tensor) -> Tensor:
    """Tile i's own channel (N,)."""
    if int(channels.max()) >= out.shape[1]:
        raise NetworkError(
            f"Expected channels from 0 to {out.shape[1] - 1}, got {int(channels.max())}."
        )
    mine = out[torch.arange(len(channels), device=out.device), channels]
    return mine.flatten(1).mean(dim=1) if mine.dim() > 1 else mine


@contextmanager
def _heard(network: nn.Module, layer: str | None) -> Iterator[Any]:
    """A function from tiles to what a layer puts out; the hook goes whatever happens."""
    if layer is None:
        yield lambda x: log_odds(network(x))
        return
    modules = dict(network.named_modules())
    if layer not in modules:
        known = ", ".join(name for name in modules if name)
        raise NetworkError(f"Expected the name of a layer, got {layer!r}. Known: {known}.")
    kept: list[Tensor] = []
    handle = modules[layer].register_forward_hook(lambda _module, _in, out: kept.append(out))

    def listen(x: Tensor) -> Tensor:
        kept.clear()
        network(x)
        return kept[0]

    try:
        yield listen
    finally:
        handle.remove()
