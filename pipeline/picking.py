"""Which tiles of a store a person means: by number, range, id or class."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError
from pipeline.split import SPLITS
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.trained import Trained

MOST = 100  # tiles at once
MANY = 20_000  # ids among which none is guessed: it would take seconds
BATCH = 512


def pick(store: Store, word: str, split: str | None = None) -> list[int]:
    """Rows of the index that a word names: ``507``, ``500-505``, or the id of a tile.

    Args:
        store: Its tiles are counted from 0, in the order train, validation, test.
        word: A number, a range that holds both its ends, or an id.
        split: Numbers count within it, as ``visualize.tiles`` does.

    Raises:
        ConfigError: There is no such tile, or there are too many.
    """
    here = _rows(store, split)
    ids = store.index["id"]
    if len(found := np.flatnonzero(ids == word)):
        return [int(row) for row in found if row in here] or _not_here(word, split)
    where = f"of the {split} split" if split else "of the store"
    if match := re.fullmatch(r"(-?\d+)(?:-(\d+))?", word.strip()):
        first, last = int(match[1]), int(match[2] or match[1])
        if not 0 <= first <= last < len(here):
            raise ConfigError(
                f"Expected a tile {where} from 0 to {len(here) - 1}, or a range of them such as "
                f"3-7, got {word}."
            )
        if last - first >= MOST:
            raise ConfigError(f"Expected at most {MOST} tiles, got {last - first + 1} in {word}.")
        return list(here[first : last + 1])
    known = ids.iloc[here.start : here.stop].tolist() if len(here) <= MANY else []
    near = get_close_matches(word, known, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise ConfigError(
        f"Expected a number from 0 to {len(here) - 1}, a range such as 3-7 or the id of a tile "
        f"{where}, got {word!r}.{hint}"
    )


def _rows(store: Store, split: str | None) -> range:
    if split is None:
        return range(sum(map(store.count, SPLITS)))
    if split not in SPLITS:
        near = get_close_matches(split, SPLITS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"Expected a split, {', '.join(SPLITS)}, got {split!r}.{hint}")
    if not store.count(split):
        raise ConfigError(f"Expected tiles in the {split} split, got none.")
    return store.split_range(split)


def _not_here(word: str, split: str | None) -> list[int]:
    raise ConfigError(f"Expected a tile of the {split} split, got {word}, which is in another one.")


def of_class(
    store: Store, name: str | None, split: str, count: int, trained: Trained | None = None
) -> list[int]:
    """Rows of the index of some tiles of a class, or of any, in the order of the split.

    With a network those come first to whose true class it gives the least probability.

    Raises:
        ConfigError: There is no such class, it has no tile there, or too many are asked for.
    """
    here = _rows(store, split)
    if not 1 <= count <= MOST:
        raise ConfigError(f"Expected a count from 1 to {MOST} tiles, got {count}.")
    if not len(store.classes):
        raise ConfigError("Expected tiles with labels, got a store of tiles without.")
    labels = store.labels(split)
    places = np.arange(len(labels))
    if name is not None:
        near = get_close_matches(name, store.classes.names, n=1)
        hint = f" Did you mean {near[0]}?" if near and name not in store.classes.names else ""
        if name not in store.classes.names:
            known = ", ".join(store.classes)
            raise ConfigError(f"Expected one of the classes {known}, got {name!r}.{hint}")
        places = np.flatnonzero(labels == store.classes.index(name))
    if not len(places):
        raise ConfigError(f"Expected tiles of {name} in the {split} split, got none.")
    if trained is not None:
        places = places[np.argsort(of_truth(trained, split)[places], kind="stable")]
    return [here.start + int(place) for place in places[:count]]


def of_truth(trained: Trained, split: str) -> NDArray[np.float32]:
    """Probability (N,) that a network gives to the true class of each tile of a split."""
    labels = trained.labels(split)
    shares = trained.probabilities(split, BATCH)[np.arange(len(labels)), labels]
    return np.asarray(shares)
