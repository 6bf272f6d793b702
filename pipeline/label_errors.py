"""``python -m pipeline label-errors``: labels that look wrong, ranked, as a CSV and a picture."""

from __future__ import annotations

import csv
import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import console
from pipeline.confident import Suspects, suspects
from pipeline.errors import ConfigError, StoreError
from pipeline.split import SPLITS, assign, number
from pipeline.store import Store

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.schema import Params
    from pipeline.tasks.folds import Recipe

OUT = Path("reports/label_errors.csv")
PICTURE = Path("reports/label_errors.png")
COLUMNS = (
    "rank", "tile_id", "split", "given", "suspected", "p_given", "p_suspected", "margin",
)  # fmt: skip
FOLDS, EPOCHS = 4, 6
SHOWN = 30  # tiles of the picture
PER_ROW = 5
SURE = 0.8  # share of labels that networks worth a hearing agree with
BLOCK = 10  # tiles of a side of ground that stays in one fold


def run(params: Params, folds: int = FOLDS, epochs: int = EPOCHS) -> Suspects:
    """Doubt every label of the store with the network of ``params.yaml``, trained anew k times.

    Raises:
        ConfigError: The network tells no classes.
        StoreError: The tiles have no labels, or are too few.
    """
    if params.model.task != "classify":
        raise ConfigError(
            "Expected a network that tells classes to doubt labels with, got one that "
            "reconstructs its tile. Compose with another model, such as model=vgg."
        )
    store = Store.open()
    labels = np.concatenate([store.labels(split) for split in SPLITS])
    if not len(store.classes) or len(labels) < folds:
        raise StoreError(
            f"Expected at least {folds} labelled tiles, got {len(labels)} of "
            f"{len(store.classes)} classes. Ingest tiles with labels."
        )
    from pipeline.tasks.folds import out_of_fold

    pixels = np.concatenate([store.pixels(split) for split in SPLITS])
    places = assign(units(store.index), labels, [1 / folds] * folds, params.train.seed)
    shares = out_of_fold(pixels, labels, places, recipe(params, store, epochs))
    found = suspects(shares, labels)
    write(found, shares, store)
    draw(found, shares, store, pixels)
    say(found, len(labels), float((shares.argmax(axis=1) == labels).mean()))
    return found


def units(index: pd.DataFrame) -> NDArray[np.int64]:
    """What stays in one fold (N,): blocks of ground of a file; tiles where files tell no place."""
    side = BLOCK * index[["window_height", "window_width"]].max(axis=1).to_numpy()
    keys = [
        index["source"].astype("category").cat.codes.to_numpy(np.int64),
        index["window_row"].to_numpy() // side,
        index["window_col"].to_numpy() // side,
        np.where(index["group"] == "", np.arange(len(index)), -1),
    ]
    return number(np.stack(keys, axis=1))


def recipe(params: Params, store: Store, epochs: int) -> Recipe:
    """The training of ``params.yaml``, but short."""
    from pipeline.augment import Augment
    from pipeline.network import build
    from pipeline.tasks.folds import Recipe
    from pipeline.trained import limit_threads

    limit_threads(params.engine)
    network = functools.partial(
        build,
        params.model.layers,
        bands=store.bands,
        classes=store.classes,
        tile_size=store.tile_size,
        mean=store.mean.tolist(),
        std=store.std.tolist(),
        init=params.init,
        seed=params.train.seed,
    )
    return Recipe(
        network=network,
        augment=Augment(params.augment, store.mean.tolist(), store.std.tolist()),
        optimizer=params.optimizer,
        schedule=params.schedule,
        engine=params.engine,
        smoothing=getattr(params.loss, "label_smoothing", 0.0),
        batch_size=params.train.batch_size,
        epochs=epochs,
        seed=params.train.seed,
    )


def write(found: Suspects, shares: NDArray[np.float32], store: Store, path: Path = OUT) -> None:
    """A row a suspect label, the most suspect first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = store.classes.names
    ids, splits = store.index["id"].to_numpy(), store.index["split"].to_numpy()
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for rank, row in enumerate(found.rows.tolist(), start=1):
            given, suspected = (int(x[rank - 1]) for x in (found.given, found.suspected))
            numbers = (shares[row, given], shares[row, suspected], found.margin[rank - 1])
            told = (f"{value:.4f}" for value in numbers)
            writer.writerow((rank, ids[row], splits[row], names[given], names[suspected], *told))


def draw(
    found: Suspects,
    shares: NDArray[np.float32],
    store: Store,
    pixels: NDArray[np.generic],
    path: Path = PICTURE,
) -> None:
    """The most suspect ones as a picture; none where no label is suspect."""
    from pipeline.figures import canvas
    from pipeline.figures.gallery import Line, Row, Shown, gallery

    path.unlink(missing_ok=True)
    ids, classes = store.index["id"].to_numpy(), store.classes
    shown = []
    for rank, row in enumerate(found.rows[:SHOWN].tolist()):
        lines = [Line(f"{rank + 1}: {ids[row]}")]
        for word, label in (("given", found.given[rank]), ("rather", found.suspected[rank])):
            text = f"{word} {classes.names[label]} {shares[row, label]:.0%}"
            lines.append(Line(text, classes.colours[label]))
        shown.append(Shown(pixels[row], lines))
    if shown:
        rows = [Row("", shown[i : i + PER_ROW]) for i in range(0, len(shown), PER_ROW)]
        title = f"The {len(shown)} most suspect of {len(found.rows):,} labels"
        caption = "Probabilities are of networks that did not learn from the tile."
        canvas.save(gallery(rows, store.bands, title, caption), path)


def say(found: Suspects, tiles: int, accuracy: float) -> None:
    """What came of it, how far to trust it, and what to do with it."""
    console.say(
        f"{len(found.rows):,} of {tiles:,} labels are suspect, about {found.share:.1%} are wrong "
        f"by the estimate of confident learning; the networks agree with {accuracy:.1%} of labels."
    )
    if accuracy < SURE:
        console.warn(
            "networks that agree with so few labels err more often than these do: the estimate is "
            "too high, and only the first of the ranking mean much. More --epochs may help."
        )
    if len(found.rows):
        console.say(
            f"Look at {PICTURE}, then mend the labels, or keep of {OUT} the rows that are wrong "
            "and leave those tiles out: source.exclude=wrong.csv."
        )
