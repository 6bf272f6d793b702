"""How often each training tile comes in an epoch: once, or more often where its class is rare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ClassError
from pipeline.order import Rows
from pipeline.targets import nearest
from pipeline.types import Classes

Sampling = Literal["natural", "balanced"] | dict[str, float]


def factors(
    wanted: Sampling, classes: Classes, counts: Mapping[str, int]
) -> NDArray[np.float64] | None:
    """How much more often a tile of each class (K,) comes than others; None where all come once.

    Args:
        wanted: ``train.sampling``; classes that a mapping does not name have a factor of 1.
        classes: Of the tiles.
        counts: Training tiles of each class by name.

    Raises:
        ClassError: A factor for a class that is not there, or factors that leave no tile.
    """
    if wanted == "natural" or not len(classes):
        return None
    tiles = np.array([counts.get(name, 0) for name in classes], dtype=np.float64)
    if wanted == "balanced":
        return np.divide(1.0, tiles, out=np.zeros_like(tiles), where=tiles > 0)
    for name in wanted:
        if name not in classes.names:
            raise ClassError(f"train.sampling has no class {name!r}.{nearest(name, classes)}")
    chosen = np.array([wanted.get(name, 1.0) for name in classes])
    if not chosen @ tiles:
        raise ClassError(
            "Expected training tiles of a class with a factor above 0 in train.sampling, got "
            "none; raise a factor."
        )
    return chosen


def draw(labels: NDArray[np.int64], chosen: NDArray[np.float64], *, seed: int, epoch: int) -> Rows:
    """How often each tile (N,) comes in an epoch; N in sum, and anew in each epoch.

    Systematic sampling (Madow and Madow 1944): the times that tiles are expected are laid end to
    end, class by class and shuffled within each, and a comb with teeth of distance 1 falls on them
    at a random place. A tile comes its expected times, rounded up or down; so does a class.

    Args:
        labels: Of the tiles (N,).
        chosen: Factor of each class (K,).
        seed: Of the draw.
        epoch: From 0.
    """
    random = np.random.default_rng(np.random.SeedSequence((seed, epoch), spawn_key=(1,)))
    rows = random.permutation(len(labels))
    rows = rows[np.argsort(labels[rows], kind="stable")]
    ends = np.cumsum(chosen[labels[rows]])
    teeth = np.floor(ends / ends[-1] * len(labels) + random.random()).astype(np.int64)
    teeth[-1] = len(labels)
    counts: Rows = np.empty_like(teeth)
    counts[rows] = np.diff(np.minimum(teeth, len(labels)), prepend=0)
    return counts
