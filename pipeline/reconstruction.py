"""How well a network draws its tiles again: measures of squared errors, overall and by band.

Errors of bands are in the band's own units; ``mse`` is of normalized pixels, as the training's loss
is, so that bright bands do not drown dark ones. What has no value, such as the share of variance
of a constant band, is nan here and null in a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.metrics import rounded
from pipeline.stats import mean_and_deviation, tile_moments
from pipeline.types import Bands

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Errors:
    """What was found on some tiles of N, of C bands."""

    squared: Floats  # (N, C) mean over a tile's pixels, in squared units of the band
    deviation: Floats  # (C,) of the pixels of all these tiles
    span: Floats  # (C,) their largest less their smallest value

    @classmethod
    def of(cls, pairs: Iterable[tuple[NDArray[Any], NDArray[Any]]]) -> Errors:
        """Errors of batches of tiles (n, H, W, C) and their reconstructions, one or more."""
        squared, moments, lows, highs = [], [], [], []
        size = 0
        for pixels, drawn in pairs:
            size = pixels.shape[1] * pixels.shape[2]
            difference = drawn.astype(np.float64) - pixels
            squared.append(np.square(difference).mean(axis=(1, 2)))
            moments.append(tile_moments(pixels))
            lows.append(pixels.min(axis=(0, 1, 2)).astype(np.float64))
            highs.append(pixels.max(axis=(0, 1, 2)).astype(np.float64))
        _, deviation = mean_and_deviation(np.concatenate(moments), size)
        span = np.max(highs, axis=0) - np.min(lows, axis=0)
        return cls(np.concatenate(squared), deviation, span)

    def of_tiles(self, deviation: Floats) -> Floats:
        """Mean squared error (N,) of normalized pixels; ``deviation`` (C,) is what normalizes."""
        errors: Floats = (self.squared / np.square(deviation)).mean(axis=1)
        return errors


def psnr(mse: float, span: float) -> float:
    """Peak signal-to-noise ratio, 10 log10(span^2 / mse), in decibels; nan where there is none.

    ``span`` is the largest less the smallest value that the band has in the tiles measured: number
    types are seldom used to their full range.
    """
    return 10 * math.log10(span**2 / mse) if mse > 0 and span > 0 else math.nan


def explained(mse: float, variance: float) -> float:
    """Share of the variance that is drawn again: 1 - mse / variance, nan without variance."""
    return 1 - mse / variance if variance > 0 else math.nan


def summarize(errors: Errors, deviation: Floats, bands: Bands) -> dict[str, Any]:
    """What ``reports/metrics.json`` holds of a network that reconstructs.

    ``mse`` and ``r2`` are over the normalized pixels of all bands, ``psnr`` is the mean over the
    bands that have one; ``per_band`` has ``rmse`` in the band's own units.

    Args:
        errors: Of the tiles measured.
        deviation: (C,) by which the network normalizes.
        bands: Names.
    """
    mse, variance = errors.squared.mean(axis=0), np.square(errors.deviation)
    scaled = mse / np.square(deviation)
    peaks = [psnr(float(a), float(b)) for a, b in zip(mse, errors.span, strict=True)]
    return {
        "n": len(errors.squared),
        "mse": rounded(float(scaled.mean())),
        "r2": rounded(explained(float(scaled.sum()), float((variance / deviation**2).sum()))),
        "psnr": rounded(_mean(peaks)),
        "per_band": {
            name: {
                "mse": rounded(float(scaled[i])),
                "rmse": rounded(math.sqrt(mse[i])),
                "r2": rounded(explained(float(mse[i]), float(variance[i]))),
                "psnr": rounded(peaks[i]),
            }
            for i, name in enumerate(bands)
        },
    }


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.mean(known)) if known else math.nan


def spread(errors: Sequence[float] | Floats, count: int) -> list[int]:
    """Places of ``count`` tiles from the best drawn to the worst, at equal ranks."""
    order = np.argsort(errors, kind="stable")
    ranks = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(order[rank]) for rank in ranks]
