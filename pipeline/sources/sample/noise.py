"""Smooth random fields."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def _basis(length: int, scale: float, knots: int) -> NDArray[np.float32]:
    """Cubic B-splines over ``length`` points, a knot every ``scale`` points; (length, knots)."""
    place = np.arange(length) / scale
    first = place.astype(np.intp)
    t = (place - first).astype(np.float32)
    weights = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    basis = np.zeros((length, knots), dtype=np.float32)
    for i, weight in enumerate(weights):
        basis[np.arange(length), first + i] = weight / 6
    return basis


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], scale: float
) -> NDArray[np.float32]:
    """Random field of mean 0 and deviation about 1 that varies over ``scale`` points.

    Splines over random knots: two products of matrices, much cheaper than a wide filter.
    """
    knots = [int(np.ceil(length / scale)) + 3 for length in shape]
    values = rng.standard_normal((knots[0], knots[1]), dtype=np.float32)
    values *= np.float32(315 / 151)  # for the mean of the squared splines is 151/315 a dimension
    field: NDArray[np.float32] = _basis(shape[0], scale, knots[0]) @ values
    field = field @ _basis(shape[1], scale, knots[1]).T
    return field
