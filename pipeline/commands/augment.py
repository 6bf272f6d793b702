"""Draw what each distortion does to tiles of the store: ``reports/augment/``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from pipeline.augment import Augment, generator
from pipeline.config import compose
from pipeline.console import say
from pipeline.figures import canvas
from pipeline.figures.distorted import Row, rows_of_draws, stretch_of
from pipeline.schema import AugmentSection
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.schema import TrainSection

OUT = Path("reports/augment")
SPLIT = "train"
MOST = 1000  # tiles of a class among which one is chosen
DRAWS = 5
TRIES = 400  # of which those are shown that change the tile: some strike one tile in fifty
CPU = torch.device("cpu")

# Distortion -> its amount in words, {0} as it is or {1} in percent, in the order of their effect.
AMOUNTS = {
    "flips": "rows, columns or both",
    "quarter_turns": "one, two or three",
    "rotation": "up to {0:g}° either way",
    "zoom": "up to {1:.3g} % larger or smaller",
    "shift": "up to {1:.3g} % of a side",
    "contrast": "a factor of 1 ± {0:g}",
    "band_contrast": "a factor of 1 ± {0:g} a band",
    "brightness": "± {0:g} mean deviations",
    "band_brightness": "± {0:g} deviations a band",
    "haze": "up to {1:.3g} % of the light",
    "noise": "up to {0:g} deviations",
    "scratches": "in {1:.3g} % of the tiles",
    "dead_lines": "in {1:.3g} % of the tiles",
    "band_dropout": "{1:.3g} % of the bands",
}


def run(augment: AugmentSection, train: TrainSection) -> None:
    """A picture for a tile of each class: every distortion by itself, then all that are on."""
    store = Store.open()
    stretch = stretch_of(store.mean, store.std)
    shutil.rmtree(OUT, ignore_errors=True)
    for number, (name, tile) in enumerate(examples(store).items()):
        every = draws(augment, store, tile, train.seed)
        rows = [
            *alone(augment, strong(), store, tile, train.seed),
            Row("all that are on", "as tiles are trained on", every),
        ]
        figure = rows_of_draws(
            rows,
            store.bands,
            stretch,
            f"What augmentation does to a tile{f' of {name}' if name else ''}",
            "Draws that change nothing are left out. What is off is shown at its amount in "
            "augment=strong.",
        )
        word = re.sub(r"\W+", "_", name) or "tile"  # a class may be called what no file can be
        canvas.save(figure, OUT / f"{number}_{word}.png")
    say(f"Wrote {len(list(OUT.iterdir()))} pictures in {OUT}.")


def strong() -> AugmentSection:
    """The amounts of ``augment=strong``."""
    return AugmentSection.model_validate(yaml.safe_load(compose(["augment=strong"]))["augment"])


def examples(store: Store) -> dict[str, NDArray[Any]]:
    """A tile (H, W, C) of each class by its name: in contrast, the middle one of its class.

    Of tiles without labels one, whose name is empty.
    """
    names, found = np.array(store.names(SPLIT)), {}
    for name in store.classes.names or ("",):
        mine = np.flatnonzero(names == name)[:MOST]
        if len(mine):
            pixels = store.pixels(SPLIT, mine)
            contrast = pixels.std(axis=(1, 2)) / np.where(store.std > 0, store.std, 1)
            ranked = np.argsort(contrast.mean(axis=1), kind="stable")
            found[name] = pixels[ranked[len(ranked) // 2]]
    return found


def alone(
    section: AugmentSection, instead: AugmentSection, store: Store, tile: NDArray[Any], seed: int
) -> Iterator[Row]:
    """A row for each distortion, at the amount of ``instead`` where it is off."""
    none = section.model_copy(update=dict.fromkeys(AMOUNTS, 0))
    for name, words in AMOUNTS.items():
        off = not getattr(section, name)
        amount = getattr(instead if off else section, name)
        made = draws(none.model_copy(update={name: amount}), store, tile, seed)
        note = words.format(amount, 100 * amount)
        yield Row(name, f"off: {note}" if off else note, made, faint=off)


def draws(section: AugmentSection, store: Store, tile: NDArray[Any], seed: int) -> NDArray[Any]:
    """A tile (H, W, C) and up to ``DRAWS`` of what becomes of it, each unlike all others."""
    augment = Augment(section, store.mean.tolist(), store.std.tolist())
    first = torch.from_numpy(tile.astype(np.float32)).permute(2, 0, 1)
    made = augment(first.expand(TRIES, *first.shape), generator(CPU, seed))
    known = {one.tobytes(): one for one in (first.numpy(), *made.numpy())}
    return np.stack([*known.values()][: 1 + DRAWS]).transpose(0, 2, 3, 1)
