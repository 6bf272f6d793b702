"""Whether pixels are like those that a network was trained on: units, scaling, sensor, grain.

What is kept of the training pixels is small enough for a bundle: quantiles, deviation, grain and a
histogram of each band. The rules only warn; a scene may be unlike and still be mapped well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.duplicates import Read
from pipeline.split import SPLITS, Codes

Floats = NDArray[np.float64]

LEVELS = (0.1, 1.0, 25.0, 50.0, 75.0, 99.0, 99.9)  # percent
LOW, MEDIAN, HIGH = 0, 3, 6  # places in LEVELS: what lies outside is unseen
MIDDLE = slice(2, 5)
BINS = 64
SIDE = 64  # pixels of a tile's centre that are looked at
PIXELS = 2**20  # of a split or a scene that are looked at, about
# Warned of from here on; scenes of other places that the same sensor took stay below.
SCALED = 4.0  # factor in each band
APART = 1.5  # deviations between medians
MISPLACED = 0.25  # deviations that another order of the bands brings medians closer by
OUTSIDE = 0.1  # share of pixels outside the range of training; there it is 0.002
GRAIN = 2.5  # factor
# Of pixels over those of training: what makes such a factor.
CAUSES = (
    (1e4, "reflectance times 10,000, where training had fractions"),
    (1e-4, "reflectance as a fraction, where training had it times 10,000"),
    (255.0, "values from 0 to 255, where training had 0 to 1"),
    (1 / 255, "values from 0 to 1, where training had 0 to 255"),
    (16.0, "12 bits or reflectance times 10,000, where training had 8 bits"),
    (1 / 16, "8 bits, where training had 12 bits or reflectance times 10,000"),
)
BASELINE = 1000.0  # what Sentinel-2 products add to each band since processing baseline 04.00


@dataclass(frozen=True)
class Look:
    """How the pixels of some tiles are spread, band by band."""

    bands: tuple[str, ...]
    quantiles: Floats  # (C, len(LEVELS))
    deviation: Floats  # (C,)
    grain: Floats  # (C,) mean magnitude of the difference between neighbours
    edges: Floats  # (C, 2) of the histogram; what lies outside is counted in its ends
    counts: NDArray[np.int64]  # (C, BINS)

    @classmethod
    def of(
        cls, pixels: NDArray[Any], bands: Iterable[str], valid: NDArray[np.bool_] | None = None
    ) -> Look:
        """Of windows (N, H, W, C), as far as they are valid (N, H, W)."""
        wide = pixels.astype(np.float64)
        kept = np.ones(wide.shape[:3], bool) if valid is None else valid
        values = wide[kept]
        steps = np.abs(np.diff(wide, axis=2))[kept[:, :, 1:] & kept[:, :, :-1]]
        quantiles = np.percentile(values, LEVELS, axis=0).T
        edges = _edges(quantiles, whole=pixels.dtype.kind in "iu")
        return cls(
            tuple(bands),
            quantiles,
            values.std(axis=0),
            steps.mean(axis=0) if len(steps) else np.zeros(len(quantiles)),
            edges,
            np.stack([_counts(v, e) for v, e in zip(values.T, edges, strict=True)]),
        )

    @classmethod
    def load(cls, facts: Mapping[str, Any]) -> Look:
        """From what ``facts`` gives, as it stands in JSON."""
        columns = list(facts.values())
        read = {key: np.array([band[key] for band in columns]) for key in columns[0]}
        return cls(bands=tuple(facts), **read)

    def facts(self) -> dict[str, dict[str, Any]]:
        """Band -> numbers, for JSON."""
        return {
            name: {
                "quantiles": _short(self.quantiles[i]),
                "deviation": _short(self.deviation[i]),
                "grain": _short(self.grain[i]),
                "edges": _short(self.edges[i]),
                "counts": self.counts[i].tolist(),
            }
            for i, name in enumerate(self.bands)
        }

    @property
    def medians(self) -> Floats:
        """(C,)."""
        return self.quantiles[:, MEDIAN]

    def outside(self, values: Floats) -> Floats:
        """Shares (C,) of values (N, C) outside the range of all but two in a thousand of these."""
        beyond = (values < self.quantiles[:, LOW]) | (values > self.quantiles[:, HIGH])
        return np.asarray(beyond.mean(axis=0))


def _edges(quantiles: Floats, *, whole: bool) -> Floats:
    """Ends of histograms (C, 2) a little beyond the quantiles.

    Bins of whole numbers hold equally many of them each: else they would look like a comb.
    """
    low, high = quantiles[:, LOW], quantiles[:, HIGH]
    reach = 0.05 * (high - low) + 1e-9
    if not whole:
        return np.stack([low - reach, high + reach], axis=1)
    width = np.ceil((high - low + 2 * reach) / BINS)
    start = np.floor(low - reach) - 0.5
    return np.stack([start, start + BINS * np.maximum(width, 1)], axis=1)


def _counts(values: Floats, edges: Floats) -> NDArray[np.int64]:
    return np.histogram(np.clip(values, *edges), BINS, (edges[0], edges[1]))[0].astype(np.int64)


def _short(values: Any) -> Any:
    """Six digits are enough to compare by."""
    rounded = [float(f"{value:.6g}") for value in np.ravel(values)]
    return rounded if np.ndim(values) else rounded[0]


def differences(seen: Look, found: Look, outside: Floats) -> list[str]:
    """What is unlike, each as the end of a sentence that begins with the scene's name.

    Args:
        seen: Of training.
        found: Of the same bands of a scene.
        outside: (C,) of ``seen.outside``.
    """
    if scaled := _scaled(seen, found):
        return [scaled]  # all else would only say it again
    told = [_offset(seen, found), _order(seen, found)]
    if not any(told):
        told += [_apart(seen, found), _outside(seen, outside)]
    return [sentence for sentence in (*told, _grain(seen, found)) if sentence]


def _scaled(seen: Look, found: Look) -> str | None:
    ours, theirs = seen.quantiles[:, MIDDLE], found.quantiles[:, MIDDLE]
    if (ours <= 0).any() or (theirs <= 0).any():
        return None
    logs = np.median(np.log(theirs / ours), axis=1)
    if np.abs(logs).min() < np.log(SCALED) or len(set(np.sign(logs))) > 1:
        return None
    factor = float(np.exp(np.median(logs)))
    known = min(CAUSES, key=lambda cause: abs(np.log(factor / cause[0])))
    near = abs(np.log(factor / known[0])) < np.log(2.5)
    value = max(known[0], 1 / known[0]) if near else max(factor, 1 / factor)
    cause = known[1] if near else "another unit, scaling or sensor"
    told = f"{float(f'{value:.3g}'):,.10g}"  # three digits, and never as a power of ten
    return (
        f"values are about {told} times {'larger' if factor > 1 else 'smaller'} than in training "
        f"({_medians(seen, found, int(np.abs(logs).argmax()))}): {cause}?"
    )


def _offset(seen: Look, found: Look) -> str | None:
    apart = found.quantiles[:, 1] - seen.quantiles[:, 1]  # the dark end hardly moves by itself
    scale = seen.quantiles[:, HIGH].min() > BASELINE
    if not scale or (np.abs(np.abs(apart) / BASELINE - 1) > 0.25).any():
        return None
    if len(set(np.sign(apart))) > 1:
        return None
    way = "higher" if apart[0] > 0 else "lower"
    return (
        f"values are about 1,000 {way} in every band than in training: the offset of Sentinel-2's "
        "processing baseline 04.00?"
    )


def _order(seen: Look, found: Look) -> str | None:
    """Another order of the bands that would fit far better."""
    count = len(seen.bands)
    if not 1 < count <= 6:
        return None
    gaps = np.abs(found.quantiles[:, None, MIDDLE] - seen.quantiles[None, :, MIDDLE]).mean(axis=2)
    gaps = gaps / np.maximum(seen.deviation, 1e-12)  # (found, seen)
    costs = {order: gaps[list(order), range(count)].mean() for order in permutations(range(count))}
    plain, best = tuple(range(count)), min(costs, key=costs.__getitem__)
    if costs[plain] - costs[best] < MISPLACED or costs[best] > 0.6 * costs[plain]:
        return None
    names = ", ".join(seen.bands[i] for i in np.argsort(best))
    return f"bands fit training far better in the order {names}: are they named rightly?"


def _apart(seen: Look, found: Look) -> str | None:
    gaps = np.abs(found.medians - seen.medians) / np.maximum(seen.deviation, 1e-12)
    band = int(gaps.argmax())
    if gaps[band] <= APART:
        return None
    way = "above" if found.medians[band] > seen.medians[band] else "below"
    return (
        f"{seen.bands[band]} lies {gaps[band]:.1f} deviations {way} training "
        f"({_medians(seen, found, band)}): another sensor, season or processing?"
    )


def _outside(seen: Look, outside: Floats) -> str | None:
    band = int(outside.argmax())
    if outside[band] <= OUTSIDE:
        return None
    low, high = seen.quantiles[band, [LOW, HIGH]]
    return (
        f"{outside[band]:.0%} of the pixels have a value of {seen.bands[band]} that training "
        f"hardly saw (outside {low:.4g} to {high:.4g})."
    )


def _grain(seen: Look, found: Look) -> str | None:
    if (seen.grain <= 0).any():
        return None
    factor = float(np.median(found.grain / seen.grain))
    if not factor:
        return "neighbouring pixels do not differ: a scene of one value, or of large blocks?"
    if 1 / GRAIN < factor < GRAIN:
        return None
    if factor > 1:
        return (
            f"neighbouring pixels differ {factor:.1f} times as much as in training: noise, or a "
            "coarser ground sample distance?"
        )
    return (
        f"neighbouring pixels differ {factor:.2f} times as much as in training: a finer ground "
        "sample distance, resampling or blur?"
    )


def _medians(seen: Look, found: Look, band: int) -> str:
    return f"median of {seen.bands[band]} {found.medians[band]:.4g}, there {seen.medians[band]:.4g}"


def sample(read: Read, split: Codes) -> Iterator[tuple[str, NDArray[Any]]]:
    """Pixels (n, h, w, C) of each split that has tiles: of some, spread evenly, their centres."""
    for place, name in enumerate(SPLITS):
        rows = np.flatnonzero(split == place)
        if len(rows):
            height, width = (min(side, SIDE) for side in read(rows[:1]).shape[1:3])
            few = rows[:: -(-len(rows) * height * width // PIXELS)]
            pixels = read(few)
            top, left = (pixels.shape[1] - height) // 2, (pixels.shape[2] - width) // 2
            yield name, pixels[:, top : top + height, left : left + width]
