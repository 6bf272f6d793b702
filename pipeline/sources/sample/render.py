"""From plan to picture: bend, plant, light, blur, haze, noise.

The ground is sampled twice as finely as the picture in each direction, so that a pixel mixes up to
four surfaces, and its label is what most of it is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from pipeline.sources.sample.canvas import Canvas
from pipeline.sources.sample.landscape import draw_plan
from pipeline.sources.sample.noise import smooth_noise
from pipeline.sources.sample.spectra import (
    CLASSES,
    label_table,
    reflectance_table,
    roughness_table,
)
from pipeline.sources.sample.trees import plant

FINER = 2  # points of the ground a pixel, in each direction; _mean_of_pixel and _labels count on it
MARGIN = 24  # pixels around the picture whose shadows fall into it
DIFFUSE = (0.13, 0.17, 0.24, 0.09)  # share of skylight on clear days: red, green, blue, nir
HAZE = (0.022, 0.034, 0.058, 0.010)  # path reflectance of light haze
FULL_SCALE = 0.52  # apparent reflectance of the value 255
SWAY = 17.0  # metres by which roads leave the straight
PSF = 0.55  # deviation of the sensor's point spread, pixels


class Sun(NamedTuple):
    """Direction to the sun: rows grow downwards."""

    row: float  # unit vector on the ground
    col: float
    tangent: float  # of its elevation


def _sun(rng: np.random.Generator) -> Sun:
    azimuth = np.radians(rng.uniform(110.0, 250.0))  # from north, clockwise
    return Sun(-np.cos(azimuth), np.sin(azimuth), np.tan(np.radians(rng.uniform(36.0, 58.0))))


def _bend(rng: np.random.Generator, plan: Canvas, points: int, angle: float) -> Canvas:
    """Turn and bend the plan into a square of ``points`` by ``points``."""
    step = plan.step
    y, x = np.mgrid[0:points, 0:points].astype(np.float32) - np.float32(points / 2)
    shape, middle = (points, points), plan.material.shape[0] / 2
    sway = [smooth_noise(rng, shape, 260.0 / step) * np.float32(SWAY / step) for _ in range(2)]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    rows = (cos * y + sin * x + sway[0] + np.float32(middle)).astype(np.int32)
    cols = (cos * x - sin * y + sway[1] + np.float32(middle)).astype(np.int32)
    last = plan.material.shape[0] - 1
    index = np.clip(rows, 0, last) * np.int32(last + 1) + np.clip(cols, 0, last)
    layers = (plan.material, plan.height, plan.tint, plan.warmth, plan.canopy, plan.wet)
    return Canvas(step, *(layer.ravel().take(index) for layer in layers))


def _overlap(shift: int) -> tuple[slice, slice]:
    """Where a field and the same field moved by ``shift`` lie on each other."""
    back, forth = slice(0, -shift or None), slice(shift, None)
    return (back, forth) if shift >= 0 else (slice(-shift, None), slice(0, shift))


def _raise(shade: NDArray[np.float32], source: NDArray[np.float32], sun: Sun, away: float) -> None:
    """Raise ``shade`` to the shadow of what stands ``away`` points towards the sun."""
    (rows, from_rows), (cols, from_cols) = (
        _overlap(round(part * away)) for part in (sun.row, sun.col)
    )
    cast = source[from_rows, from_cols] - np.float32(away * sun.tangent)
    np.maximum(shade[rows, cols], cast, out=shade[rows, cols])


def _lit(height: NDArray[np.float32], sun: Sun, step: float) -> NDArray[np.float32]:
    """Share of the sun's disc that each point sees: 0 in cast shadow.

    The shadow of a shadow is a shadow: each round doubles the distance that is looked at.
    """
    sun = sun._replace(tangent=sun.tangent * step)  # metres a point
    shade = np.full_like(height, -1e3)
    away = 2.0
    _raise(shade, height, sun, away)
    while away < 32.0 / step:
        _raise(shade, shade.copy(), sun, away)
        away *= 2
    lit: NDArray[np.float32] = np.clip(1.0 - (shade - height) / np.float32(0.8), 0.0, 1.0)
    return lit


def _slope_factor(height: NDArray[np.float32], sun: Sun, step: float) -> NDArray[np.float32]:
    """Sunlight on the slope over sunlight on the level: Lambert's cosine law."""
    down, right = np.gradient(height, step)
    rise = down * np.float32(sun.row) + right * np.float32(sun.col)
    cosine = (1.0 - rise / np.float32(sun.tangent)) / np.sqrt(1.0 + down**2 + right**2)
    factor: NDArray[np.float32] = np.clip(cosine, 0.15, 1.35)
    return factor


def _texture(rng: np.random.Generator, ground: Canvas) -> NDArray[np.float32]:
    """Factor on reflectance: grain, mottle and drift, each as strong as the material has it."""
    shape = (ground.material.shape[0], ground.material.shape[1])
    grain, mottle, drift = roughness_table()
    factor: NDArray[np.float32] = ground.tint * (
        1.0
        + grain[ground.material] * rng.standard_normal(shape, dtype=np.float32)
        + mottle[ground.material] * smooth_noise(rng, shape, 3.0 / ground.step)
        + drift[ground.material] * smooth_noise(rng, shape, 20.0 / ground.step)
    )
    return np.maximum(factor, np.float32(0.1))


def _mean_of_pixel(field: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean of the points of each pixel."""
    rows = field[0::2] + field[1::2]
    return (rows[:, 0::2] + rows[:, 1::2]) * np.float32(0.25)


def _labels(ground: Canvas) -> NDArray[np.uint8]:
    """Class that most points of each pixel have, 1 to 6."""
    fine = label_table()[ground.material]
    votes = np.zeros((len(CLASSES), fine.shape[0] // 2, fine.shape[1] // 2), dtype=np.uint8)
    for label, vote in enumerate(votes, start=1):
        for i in (0, 1):
            for j in (0, 1):
                vote += fine[i::2, j::2] == label
    labels: NDArray[np.uint8] = (votes.argmax(axis=0) + 1).astype(np.uint8)
    return labels


def _reflected(rng: np.random.Generator, ground: Canvas) -> list[NDArray[np.float32]]:
    """Reflectance of each pixel as lit, band by band."""
    sun = _sun(rng)
    table = reflectance_table(rng)
    direct = _lit(ground.height, sun, ground.step)
    direct *= _slope_factor(ground.height, sun, ground.step)
    texture = _texture(rng, ground)
    bands = []
    for band, diffuse in enumerate(DIFFUSE):
        hue = 1.0 + np.float32((1.0, 0.0, -1.0, 0.5)[band]) * ground.warmth
        light = direct * np.float32(1.0 - diffuse) + np.float32(diffuse)
        bands.append(_mean_of_pixel(table[band][ground.material] * texture * hue * light))
    return bands


def _sense(
    rng: np.random.Generator, band: int, scene: NDArray[np.float32], air: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """What the sensor writes: haze, point spread, gain and noise."""
    path = np.float32(HAZE[band]) * air
    apparent = ndimage.gaussian_filter(scene * (1.0 - 2.0 * path) + path, PSF)
    apparent *= np.float32(rng.normal(1.0, 0.05))
    deviation = np.sqrt(np.float32(2e-6) + np.float32(4e-5) * np.clip(apparent, 0.0, None))
    apparent += deviation * rng.standard_normal(apparent.shape, dtype=np.float32)
    return np.clip(np.rint(apparent * np.float32(255.0 / FULL_SCALE)), 0, 255).astype(np.uint8)


def render(
    rng: np.random.Generator, size: int, resolution: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A scene: pixels (size, size, 4) and labels (size, size), 1 to 6."""
    step = resolution / FINER
    points = (size + 2 * MARGIN) * FINER
    angle = rng.uniform(0.0, np.pi / 2)
    side = points * step * (np.cos(angle) + np.sin(angle)) + 2 * SWAY
    plan = draw_plan(rng, side, step)
    ground = _bend(rng, plan, points, angle)
    del plan
    plant(ground, rng)
    crop = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    scene = [band[crop] for band in _reflected(rng, ground)]
    air = rng.uniform(0.3, 1.8) + 0.35 * smooth_noise(rng, (size, size), 300.0 / resolution)
    air = np.clip(air, 0.05, None).astype(np.float32)
    pixels = np.stack([_sense(rng, i, band, air) for i, band in enumerate(scene)], axis=-1)
    return pixels, np.ascontiguousarray(_labels(ground)[crop])
