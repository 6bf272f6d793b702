"""Draw what each distortion does to tiles of the store: ``reports/augment/``."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import Tensor

from pipeline.augment import Augment, generator
from pipeline.config import compose
from pipeline.console import say
from pipeline.distortions import Draws
from pipeline.figures import canvas
from pipeline.figures.distorted import Row, rows_of_draws, stretch_of
from pipeline.mixing import mix, mixes, plan
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
    "mixup": "shares from Beta({0:g}, {0:g})",
    "cutmix": "shares from Beta({0:g}, {0:g})",
}


def run(augment: AugmentSection, train: TrainSection) -> None:
    """A picture for a tile of each class: every distortion by itself, then all that are on."""
    store = Store.open()
    stretch = stretch_of(store.mean, store.std)
    shutil.rmtree(OUT, ignore_errors=True)
    tiles = examples(store)
    for number, name in enumerate(tiles):
        studio = Studio(store, tiles, name, train.seed)
        each = list(studio.alone(augment, shown()))
        rows = [
            *(row for row in each if len(row.tiles) > 1),
            Row("all that are on", "as tiles are trained on", studio.draws(augment)),
        ]
        figure = rows_of_draws(
            rows,
            store.bands,
            stretch,
            f"What augmentation does to a tile{f' of {name}' if name else ''}",
            "Draws that change nothing are left out. What is off is shown at its amount in "
            f"augment=strong, and mixtures, which it leaves off, at 1.{idle(each)}",
        )
        word = re.sub(r"\W+", "_", name) or "tile"  # a class may be called what no file can be
        canvas.save(figure, OUT / f"{number}_{word}.png")
    say(f"Wrote {len(list(OUT.iterdir()))} pictures in {OUT}.")


def idle(rows: Sequence[Row]) -> str:
    """A sentence on those that change nothing here, as a lost band where there is one alone."""
    names = ", ".join(row.heading for row in rows if len(row.tiles) == 1)
    return f" Not shown, as it changes nothing of this tile: {names}." if names else ""


def shown() -> AugmentSection:
    """The amounts at which what is off is shown: of ``augment=strong``, mixtures at 1."""
    section = yaml.safe_load(compose(["augment=strong"]))["augment"]
    return AugmentSection.model_validate({**section, "mixup": 1.0, "cutmix": 1.0})


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


@dataclass(frozen=True)
class Studio:
    """Where a tile is shown under distortions.

    Args:
        store: Whose statistics scale the amounts.
        tiles: Of each class (H, W, C); what a tile is mixed with.
        name: Class of the tile.
        seed: Of the draws.
    """

    store: Store
    tiles: dict[str, NDArray[Any]]
    name: str
    seed: int

    def alone(self, section: AugmentSection, instead: AugmentSection) -> Iterator[Row]:
        """A row for each distortion, at the amount of ``instead`` where it is off."""
        none = section.model_copy(update=dict.fromkeys(AMOUNTS, 0))
        for name, words in AMOUNTS.items():
            off = not getattr(section, name)
            amount = getattr(instead if off else section, name)
            made = self.draws(none.model_copy(update={name: amount}))
            note = words.format(amount, 100 * amount)
            yield Row(name, f"off: {note}" if off else note, made, faint=off)

    def draws(self, section: AugmentSection) -> NDArray[Any]:
        """The tile (H, W, C) and up to ``DRAWS`` of what becomes of it, each unlike all others."""
        augment = Augment(section, self.store.mean.tolist(), self.store.std.tolist())
        first = _as_input(self.tiles[self.name])
        ways = torch.arange(TRIES) % 4 if augment.alternates else None
        draws = Draws(generator(CPU, self.seed), TRIES)
        made = augment(first.expand(TRIES, *first.shape), draws, ways)
        if mixes(section):
            made = self._mixed(made, section)
        known = {one.tobytes(): one for one in (first.numpy(), *made.numpy())}
        return np.stack([*known.values()][: 1 + DRAWS]).transpose(0, 2, 3, 1)

    def _mixed(self, made: Tensor, section: AugmentSection) -> Tensor:
        """As many of the tile, each mixed with another tile of the store or with itself."""
        others = [_as_input(tile) for name, tile in self.tiles.items() if name != self.name]
        batch = torch.cat([made, torch.stack(others or [made[0]]).repeat(TRIES, 1, 1, 1)[:TRIES]])
        how = plan(section, len(batch), self.tiles[self.name].shape[:2], self.seed)
        return mix(batch, torch.zeros(len(batch), dtype=torch.int64), how)[0][:TRIES]


def _as_input(tile: NDArray[Any]) -> Tensor:
    return torch.from_numpy(tile.astype(np.float32)).permute(2, 0, 1)
