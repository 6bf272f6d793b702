"""Made-up evidence for tests of measures: tiles that fail together, place by place."""

from __future__ import annotations

import numpy as np

from pipeline.evidence import Evidence
from pipeline.measuring import Measurement
from pipeline.places import Places
from pipeline.types import Classes


def evidence(
    count: int = 600, places: int = 40, classes: int = 4, seed: int = 0, sharpness: float = 1.0
) -> Evidence:
    """Tiles of noisy scores; each place has a noise of its own, and 0 places is none."""
    rng = np.random.default_rng(seed)
    actual = rng.integers(0, classes, count)
    place = rng.integers(0, max(places, 1), count)
    scores = rng.normal(size=(count, classes)) + rng.normal(size=(max(places, 1), classes))[place]
    scores[np.arange(count), actual] += 2.5
    scores = np.exp(sharpness * scores)
    ids = tuple(f"t{i:05}" for i in range(count))
    names = np.array([f"g{k:03}" for k in place] if places else ids, object)
    return Evidence(
        ids,
        actual,
        (scores / scores.sum(axis=1, keepdims=True)).astype(np.float32),
        Places("groups" if places else "tiles", names),
        Classes(tuple(f"class {k}" for k in range(classes))),
    )


def part(whole: Evidence, rows: slice) -> Evidence:
    """Some of the tiles."""
    return Evidence(
        whole.ids[rows],
        whole.actual[rows],
        whole.probabilities[rows],
        Places(whole.places.over, whole.places.names[rows]),
        whole.classes,
    )


def unsure() -> Measurement:
    """Ten tiles in two places, four of five right in each."""
    actual = np.tile([0, 0, 1, 1, 1], 2)
    shares = np.eye(2, dtype=np.float32)[np.tile([0, 1, 1, 1, 1], 2)]
    places = Places("groups", np.repeat(["p", "q"], 5).astype(object))
    ids = tuple(map(str, range(10)))
    return Measurement.of(Evidence(ids, actual, shares, places, Classes(("a", "b"))))
