"""Which member of an ensemble, and which tiles, are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import console, reconstruction
from pipeline.ensemble import Ensemble
from pipeline.errors import ConfigError
from pipeline.figures.canvas import FAINT
from pipeline.looks.base import SPLIT, Shown
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import VisualizeSection

RANKED = 6  # tiles of a network that reconstructs, unless some are named


def member_of(trained: Trained, wanted: int | None) -> int | None:
    """The member of an ensemble to look into; None for a single network."""
    network = trained.bundle.network
    count = len(trained.bundle.members)
    if wanted is not None and wanted >= max(1, count):
        known = f"a number from 0 to {count - 1}" if count else "0 or null, for a single network,"
        raise ConfigError(f"Expected {known} in visualize.member, got {wanted}.")
    if not isinstance(network, Ensemble):
        return None
    member = network.best if wanted is None else wanted
    console.say(
        f"Looks inside member {member} of {count}, {network.facts[member].model}, validation "
        f"accuracy {network.facts[member].accuracy:.4f}."
    )
    return member


def tiles_of(trained: Trained, visualize: VisualizeSection) -> Shown:
    """The tiles named in ``visualize.tiles``, or those that the task chooses."""
    store, count = trained.store, trained.store.count(SPLIT)
    if visualize.tiles is None:
        choose = ranked_tiles if trained.bundle.reconstructs else recognised_tiles
        rows = choose(trained, visualize.batch_size)
    else:
        rows = visualize.tiles
        if wrong := [row for row in rows if not 0 <= row < count] or not rows:
            raise ConfigError(
                f"Expected rows of the {SPLIT} split from 0 to {count - 1} in visualize.tiles, "
                f"got {wrong if rows else 'none'}."
            )
    places = [store.split_range(SPLIT).start + row for row in rows]
    names, labels = store.names(SPLIT), store.labels(SPLIT)
    colours = store.classes.colours or (FAINT,)
    return Shown(
        rows=rows,
        pixels=store.pixels(SPLIT, np.array(rows, dtype=np.int64)),
        names=[names[row] or f"tile {row}" for row in rows],
        ids=store.index["id"].iloc[places].tolist(),
        colours=[colours[labels[row]] for row in rows],
    )


def recognised_tiles(trained: Trained, batch_size: int) -> list[int]:
    """A tile of each class that has one it got right."""
    classes, actual = trained.store.classes, trained.store.labels(SPLIT)
    rows = typical(actual, trained.probabilities(SPLIT, batch_size))
    if missing := sorted(set(range(len(classes))) - set(actual[rows].tolist())):
        names = ", ".join(classes.names[k] for k in missing)
        console.say(f"No {SPLIT} tile of {names} was recognised: none is shown.")
    return rows


def ranked_tiles(trained: Trained, batch_size: int) -> list[int]:
    """Tiles from the best drawn to the worst."""
    errors = trained.errors(SPLIT, batch_size).of_tiles(trained.deviation)
    return reconstruction.spread(errors, RANKED)


def typical(actual: NDArray[np.int64], probabilities: NDArray[np.float32]) -> list[int]:
    """Row of the median confidence among the right ones of each class; of an even number, below."""
    right = probabilities.argmax(axis=1) == actual
    confidence = probabilities.max(axis=1)
    rows = []
    for label in range(probabilities.shape[1]):
        mine = np.flatnonzero(right & (actual == label))
        if len(mine):
            ranked = mine[np.argsort(confidence[mine], kind="stable")]
            rows.append(int(ranked[(len(ranked) - 1) // 2]))
    return rows
