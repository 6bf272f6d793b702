"""Per-band mean and deviation from the moments of single tiles, and class counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

STEP = 2**19  # values widened at a time


def tile_moments(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Mean and sum of squared deviations of each band of each tile: (N, 2, C) of (N, H, W, C).

    Taken where the pixels are, in a worker; which tiles are for training is known only later.
    """
    count, height, width, bands = pixels.shape
    moments = np.empty((count, 2, bands))
    step = max(1, STEP // max(1, height * width * bands))
    for start in range(0, count, step):
        lines = pixels[start : start + step].reshape(-1, height, width * bands)
        exact = _exact(pixels.dtype, height, width)
        mean, squares = _centred(lines, bands) if exact is None else _plain(lines, bands, exact)
        moments[start : start + step, 0] = mean
        moments[start : start + step, 1] = squares
    return moments


def _exact(kind: np.dtype[Any], height: int, width: int) -> type[np.floating[Any]] | None:
    """Return the narrowest type in which sums of squares are whole numbers without rounding."""
    if kind.kind not in "iu" or kind.itemsize > 2:
        return None
    largest = 2 ** (16 * kind.itemsize)
    if largest * height < 2**24:  # of one column, in the type; columns are added in 64 bits
        return np.float32
    return np.float64 if largest * height * width < 2**53 else None


def _plain(
    lines: NDArray[Any], bands: int, kind: type[np.floating[Any]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of squares are exact, so that squares of the mean may be taken off."""
    wide = lines.astype(kind)
    size = lines.shape[1] * lines.shape[2] // bands
    sums = _over_columns(np.einsum("nhj->nj", wide), bands)
    squares = _over_columns(np.einsum("nhj,nhj->nj", wide, wide), bands)
    return sums / size, squares - sums * (sums / size)


def _centred(lines: NDArray[Any], bands: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    wide = lines.astype(np.float64)
    width = lines.shape[2] // bands
    mean = _over_columns(wide.sum(axis=1), bands) / (lines.shape[1] * width)
    wide -= np.tile(mean, (1, width))[:, None]
    return mean, _over_columns(np.einsum("nhj,nhj->nj", wide, wide), bands)


def _over_columns(lines: NDArray[Any], bands: int) -> NDArray[np.float64]:
    """Sum (n, C) of lines (n, W x C)."""
    wide = lines.reshape(len(lines), -1, bands).astype(np.float64)
    return np.asarray(np.einsum("nwc->nc", wide))


def mean_and_deviation(
    moments: NDArray[np.float64], pixels: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and population deviation (C,) over tiles of ``pixels`` pixels, from (N, 2, C) moments.

    Squares of deviations are added up, never squares of values, so that nothing cancels
    (Chan, Golub and LeVeque 1983, doi 10.1080/00031305.1983.10483115).
    """
    means, squares = moments[:, 0], moments[:, 1]
    mean = means.mean(axis=0)
    within = squares.sum(axis=0) / (pixels * len(means))
    between = ((means - mean) ** 2).mean(axis=0)
    return mean, np.sqrt(within + between)


def class_counts(labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Tiles of each class (K,)."""
    return np.bincount(labels, minlength=classes).astype(np.int64)
