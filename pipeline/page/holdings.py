"""What the store holds: tiles by class and split, some of each class, what was left out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.page.grounds import png
from pipeline.split import SPLITS

if TYPE_CHECKING:
    from pipeline.store import Store

EACH = 10  # tiles of a class
GAP = 1  # dots between them
BYTES = 900_000  # of all samples, as dots


@dataclass(frozen=True, slots=True)
class Kind:
    """A class, or all tiles where there are none."""

    name: str
    colour: str
    counts: dict[str, int]  # by split
    share: float  # of the most frequent one, by all its tiles
    sample: str  # a picture as a data URL; empty where it has no tile
    shown: int
    size: tuple[int, int]  # of the picture, in dots

    @property
    def total(self) -> int:
        """Tiles of all splits."""
        return sum(self.counts.values())


def kinds(
    store: Store, low: NDArray[np.float64], high: NDArray[np.float64], each: int = EACH
) -> list[Kind]:
    """Every class with tiles of the first split that has any, evenly spread over it."""
    names = store.classes.names or ("all tiles",)
    colours = store.classes.colours or ("#888888",)
    labels = {split: store.labels(split) for split in SPLITS}
    counts = [
        {
            split: int((found == k).sum() if len(store.classes) else len(found))
            for split, found in labels.items()
        }
        for k in range(len(names))
    ]
    most = max(1, *(sum(own.values()) for own in counts))
    fits = BYTES // (len(names) * 3 * store.tile_size**2)
    out = []
    for k, (name, colour) in enumerate(zip(names, colours, strict=True)):
        split = next((s for s in SPLITS if counts[k][s]), None)
        where = np.arange(0)
        if split is not None:
            mine = labels[split] == k if len(store.classes) else np.full(len(labels[split]), True)
            rows = np.flatnonzero(mine)
            take = min(len(rows), max(1, min(each, fits)))
            where = rows[np.linspace(0, len(rows) - 1, take).round().astype(int)]
        picture = _sheet(store, split or "train", where, low, high)
        sample = png(picture) if len(where) else ""
        share = sum(counts[k].values()) / most
        size = (picture.shape[1], picture.shape[0])
        out.append(Kind(name, colour, counts[k], share, sample, len(where), size))
    return out


def _sheet(
    store: Store,
    split: str,
    rows: NDArray[np.int64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> NDArray[np.uint8]:
    """Tiles side by side: above in natural colour, below in false colour, each dot a pixel."""
    size, step = store.tile_size, store.tile_size + GAP
    sheet = np.full((2 * size + GAP, max(1, len(rows) * step - GAP), 3), 128, np.uint8)
    if not len(rows):
        return sheet
    pixels = store.pixels(split, rows).astype(np.float64)
    looks = 255 * np.clip(np.nan_to_num((pixels - low) / (high - low)), 0, 1)
    for place, bands in enumerate((store.bands.natural, store.bands.false_colour)):
        for i, look in enumerate(looks[..., list(bands)]):
            top, left = place * step, i * step
            sheet[top : top + size, left : left + size] = np.rint(look)
    return sheet


def dropped(ingest: dict[str, Any] | None) -> list[tuple[str, int, float]]:
    """Reasons for which tiles were left out, their number, and its share of all that came."""
    if not ingest:
        return []
    kept, reasons = int(ingest.get("kept", 0)), ingest.get("dropped", {})
    came = kept + sum(reasons.values())
    ranked = sorted(reasons.items(), key=lambda item: -item[1])
    return [(reason, int(count), count / came) for reason, count in ranked if count]
