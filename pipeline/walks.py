"""Walks through the narrowest layer of a network that reconstructs its tile.

Between two tiles in a straight line; and from the mean along the directions in which training tiles
differ most, the principal components of their codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline import steps
from pipeline.network import Network
from pipeline.subjects import Subject

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Halves:
    """A network that reconstructs, cut behind its narrowest layer."""

    subject: Subject
    before: list[torch.nn.Module]
    after: list[torch.nn.Module]

    @classmethod
    def of(cls, network: Network, pixels: NDArray[Any]) -> Halves:
        """Cut a copy; tiles (N, H, W, C) say where it is narrowest.

        Raises:
            NetworkError: It has no layer that is narrower than the tile.
        """
        cut = steps.narrowest(network, pixels) + 1
        subject = Subject.of(network, pixels.shape[-1], scored=False)
        layers = [layer for _, layer in steps.steps(subject.network)]
        return cls(subject, layers[:cut], layers[cut:])

    def encode(self, pixels: NDArray[Any]) -> Tensor:
        """(N, H, W, C) raw values -> codes (N, ...), shaped as the layer leaves them."""
        return _through(self.before, self.subject.tensor(pixels))

    def decode(self, codes: Tensor) -> Floats:
        """Codes -> tiles (N, H, W, C) in the bands' units."""
        drawn = _through(self.after, codes)
        raw = drawn * self.subject.deviation + self.subject.mean
        return raw.permute(0, 2, 3, 1).float().cpu().numpy()


def _through(layers: list[torch.nn.Module], x: Tensor) -> Tensor:
    with torch.no_grad():
        for layer in layers:
            x = layer(x)
    return x


def between(halves: Halves, first: NDArray[Any], second: NDArray[Any], count: int) -> Floats:
    """Tiles (N, count, H, W, C) on the straight way between the codes of two tiles (N, H, W, C)."""
    start, end = halves.encode(first), halves.encode(second)
    way = [halves.decode(start + t * (end - start)) for t in np.linspace(0, 1, count).tolist()]
    return np.stack(way, axis=1)


@dataclass(frozen=True)
class Directions:
    """The principal directions of codes."""

    tiles: Floats  # (directions, count, H, W, C), from minus to plus ``reach`` deviations
    shares: NDArray[np.float64]  # (directions,) of the codes' variance
    positions: NDArray[np.float64]  # (count,) in deviations


def along(
    halves: Halves, pixels: NDArray[Any], directions: int, count: int, reach: float = 2.5
) -> Directions:
    """Walks along the strongest directions of the codes of tiles (N, H, W, C) from their mean."""
    from sklearn.decomposition import PCA

    codes = halves.encode(pixels)
    flat = codes.flatten(1).cpu().numpy()
    fitted = PCA(min(directions, *flat.shape), random_state=0).fit(flat)
    positions = np.linspace(-reach, reach, count)
    # (directions, count, F)
    walked = fitted.mean_ + (
        positions[None, :, None]
        * np.sqrt(fitted.explained_variance_)[:, None, None]
        * _turned(fitted.components_)[:, None]
    )
    as_codes = torch.from_numpy(walked.astype(np.float32)).to(codes.device)
    drawn = halves.decode(as_codes.reshape(-1, *codes.shape[1:]))
    tiles = drawn.reshape(len(walked), count, *drawn.shape[1:])
    return Directions(tiles, fitted.explained_variance_ratio_, positions)


def _turned(components: NDArray[Any]) -> NDArray[Any]:
    """A direction may as well point the other way: the largest part shall be above zero."""
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return np.asarray(components * np.sign(largest))
