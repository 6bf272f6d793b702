"""Crowns, one by one, set upon the ground."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.sample.canvas import Canvas
from pipeline.sources.sample.noise import smooth_noise
from pipeline.sources.sample.spectra import INDEX

SPACING = 4.6  # metres between the places where a tree may stand
SHAPES = 64  # crowns that differ; each tree is one of them


def _crown(rng: np.random.Generator, radius: float, step: float) -> NDArray[np.float32]:
    """A lumpy dome, 0 outside and 1 at its top; (n, n)."""
    reach = int(np.ceil(radius * 1.25 / step))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    angle, distance = np.arctan2(y, x), np.hypot(y, x) * np.float32(step / radius)
    phases = rng.uniform(0, 2 * np.pi, 3)
    outline = 1.0 + sum(0.08 * np.cos((k + 2) * angle + phases[k]) for k in range(3))
    dome = np.sqrt(np.clip(1.0 - (distance / outline) ** 2, 0.0, None))
    lumps = smooth_noise(rng, (len(x), len(x)), 1.2 / step)
    return np.where(dome > 0.1, np.clip(dome * (1.0 + 0.13 * lumps), 0.05, None), 0).astype(
        np.float32
    )


def _places(rng: np.random.Generator, ground: Canvas) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns where trees stand: a shaken grid, thinned by the canopy layer."""
    pitch = SPACING / ground.step
    grid = np.arange(pitch / 2, ground.material.shape[0] - 1, pitch)
    rows, cols = (axis.ravel() for axis in np.meshgrid(grid, grid, indexing="ij"))
    limit = ground.material.shape[0] - 1
    rows = np.clip(rows + rng.uniform(-0.45, 0.45, rows.size) * pitch, 0, limit).astype(np.intp)
    cols = np.clip(cols + rng.uniform(-0.45, 0.45, cols.size) * pitch, 0, limit).astype(np.intp)
    stands = rng.uniform(0.0, 100.0, rows.size) < ground.canopy[rows, cols]
    return rows[stands], cols[stands]


def plant(ground: Canvas, rng: np.random.Generator) -> None:
    """Set trees where the canopy layer has them; species and age go by stands."""
    rows, cols = _places(rng, ground)
    shape = (ground.material.shape[0], ground.material.shape[1])
    kind = smooth_noise(rng, shape, 130.0 / ground.step)[rows, cols] + rng.normal(0, 0.4, rows.size)
    age = smooth_noise(rng, shape, 90.0 / ground.step)[rows, cols]
    radii = np.sort(rng.uniform(2.0, 4.8, SHAPES))
    crowns = [_crown(rng, radius, ground.step) for radius in radii]
    sizes = np.clip((0.5 + 0.22 * age + rng.normal(0, 0.15, rows.size)) * SHAPES, 0, SHAPES - 1)
    tints = rng.lognormal(0.0, 0.14, rows.size)
    for row, col, size, conifer, tint in zip(
        rows.tolist(), cols.tolist(), sizes.astype(int).tolist(), kind > 0.5, tints, strict=True
    ):
        tall = (2.0 + 2.6 * radii[size]) * (1.2 if conifer else 1.0)
        _stamp(
            ground, crowns[size], row, col, tall, INDEX["conifer" if conifer else "broadleaf"], tint
        )


def _stamp(
    ground: Canvas,
    crown: NDArray[np.float32],
    row: int,
    col: int,
    tall: float,
    material: int,
    tint: float,
) -> None:
    """One tree: its crown shows wherever it rises above what stands there."""
    reach = crown.shape[0] // 2
    top, left = max(0, row - reach), max(0, col - reach)
    where = np.s_[top : row + reach + 1, left : col + reach + 1]
    below = ground.height[where]
    dome = crown[top - row + reach :, left - col + reach :][: below.shape[0], : below.shape[1]]
    dome = dome * np.float32(tall)
    seen = dome > below
    below[seen] = dome[seen]
    ground.material[where][seen] = material
    ground.tint[where][seen] = tint
    ground.warmth[where][seen] = 0.0
