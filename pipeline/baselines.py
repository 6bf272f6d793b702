"""What plain statistics of a tile tell of its class: what a network has to be better than.

Three methods, from nothing to a strong one: the commonest class, logistic regression, and a random
forest, both on the mean, the deviation and the quantiles of each band. None sees where in the tile
a pixel lies.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.types import Bands

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
STEPS = 2000  # of logistic regression, at most
# Method -> what it is called in a table.
NAMES = {
    "majority": "commonest class",
    "logistic_regression": "logistic regression",
    "random_forest": "random forest",
}

Pixels = NDArray[np.generic]
Features = NDArray[np.float32]
Labels = NDArray[np.int64]


def feature_names(bands: Bands) -> list[str]:
    """Names of the columns of :func:`features`, as in ``nir mean`` and ``red q05``."""
    parts = ["mean", "deviation", *(f"q{100 * share:02.0f}" for share in QUANTILES)]
    return [f"{band} {part}" for band in bands for part in parts]


def features(pixels: Pixels) -> Features:
    """Statistics (N, 7 C) of tiles (N, H, W, C): band by band mean, deviation and quantiles."""
    count, height, width, bands = pixels.shape
    flat = np.moveaxis(pixels.reshape(count, height * width, bands), 1, 2)
    flat = np.sort(flat, axis=2, kind="stable")  # of bytes, a radix sort
    out = np.empty((count, bands, 2 + len(QUANTILES)), np.float32)
    out[..., 0] = flat.mean(axis=2, dtype=np.float64)
    out[..., 1] = flat.std(axis=2, dtype=np.float64)
    for place, share in enumerate(QUANTILES):
        out[..., 2 + place] = _of_sorted(flat, share)
    return out.reshape(count, -1)


def _of_sorted(flat: NDArray[Any], share: float) -> NDArray[np.float64]:
    """Quantile (N, C) of sorted values (N, C, P), linear between neighbours as numpy's."""
    at = share * (flat.shape[2] - 1)
    low = int(at)
    high = min(low + 1, flat.shape[2] - 1)
    below, above = (flat[..., place].astype(np.float64) for place in (low, high))
    return np.asarray(below + (at - low) * (above - below))


def chosen(labels: Labels, most: int | None, seed: int) -> NDArray[np.int64]:
    """Rows of at most so many tiles to learn from, sorted: a seeded draw without classes in it."""
    if most is None or len(labels) <= most:
        return np.arange(len(labels))
    return np.sort(np.random.default_rng(seed).permutation(len(labels))[:most])


def predictions(
    train: Features,
    labels: Labels,
    test: Features,
    *,
    trees: int,
    seed: int,
    threads: int | None = None,
) -> Iterator[tuple[str, Labels]]:
    """Each method and the labels (M,) that it gives to ``test`` (M, F).

    A class that ``labels`` lacks is given to nothing. The same however many threads there are.
    """
    commonest = int(np.bincount(labels).argmax())
    majority = np.full(len(test), commonest)
    yield "majority", majority
    makers: dict[str, Callable[[], BaseEstimator]] = {
        "logistic_regression": _logistic_regression,
        "random_forest": lambda: _random_forest(trees, seed, threads),
    }
    one_class = len(np.unique(labels)) == 1
    for name, make in makers.items():
        yield name, majority if one_class else _learned(make(), train, labels, test)


def _learned(estimator: Any, train: Features, labels: Labels, test: Features) -> Labels:
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # Statistics of one tile go together, so the last steps change next to nothing.
        warnings.simplefilter("ignore", ConvergenceWarning)
        estimator.fit(train, labels)
    return np.asarray(estimator.predict(test), np.int64)


def _logistic_regression() -> BaseEstimator:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=STEPS))


def _random_forest(trees: int, seed: int, threads: int | None) -> BaseEstimator:
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(trees, random_state=seed, n_jobs=threads or -1)
