"""Where tiles lie: small pictures of scenes, put together from the store's own tiles."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.store import Store

SIDE = 260  # dots of a picture at most
SCENES = 24
LEAST = 4  # tiles of a scene that is drawn
TILES = 40_000  # that are read for all of them
GROUND = 127  # grey of what no tile covers


@dataclass(frozen=True)
class Ground:
    """A scene as far as tiles cover it."""

    source: str
    rows: int  # pixels of the scene
    columns: int
    picture: str  # a data URL


def grounds(
    store: Store, rows: Sequence[int], low: NDArray[np.float64], high: NDArray[np.float64]
) -> list[Ground]:
    """Pictures of the files that these rows of the index come from, the most frequent first.

    Files of a tile each, and those whose tiles have no place of their own, have none.
    """
    index = store.index
    named = Counter(index["source"].iloc[list(rows)])
    found: list[Ground] = []
    room = TILES
    for source, _ in named.most_common():
        own = index[index["source"] == source]
        places = own[["window_row", "window_col"]].drop_duplicates()
        if len(places) < max(LEAST, len(own) // 2) or len(own) > room or len(found) == SCENES:
            continue
        room -= len(own)
        found.append(_ground(store, str(source), own, low, high))
    return found


def _ground(
    store: Store,
    source: str,
    own: pd.DataFrame,
    low: NDArray[np.float64],
    high: NDArray[np.float64],
) -> Ground:
    """The tiles of one file, each in its place."""
    tops, lefts = own["window_row"].to_numpy(), own["window_col"].to_numpy()
    heights, widths = own["window_height"].to_numpy(), own["window_width"].to_numpy()
    rows, columns = int((tops + heights).max()), int((lefts + widths).max())
    # A window may be larger or smaller than the tile that was made of it.
    scale = max(1.0, rows / SIDE, columns / SIDE)
    picture = np.full((int(rows / scale) or 1, int(columns / scale) or 1, 3), GROUND, np.uint8)
    natural = list(store.bands.natural)
    where = np.sort(own.index.to_numpy())
    looks = _small(store.at(where)[..., natural], low[natural], high[natural], scale)
    for row, look in zip(where, looks, strict=True):
        fact = own.loc[row]
        _put(picture, look, [int(fact[f"window_{part}"]) for part in
                             ("row", "col", "height", "width")], scale)  # fmt: skip
    return Ground(source, rows, columns, jpeg(picture))


def _small(
    pixels: NDArray[Any], low: NDArray[np.float64], high: NDArray[np.float64], scale: float
) -> NDArray[np.uint8]:
    """Tiles (N, h, w, 3) as brightness, their pixels averaged over squares within ``scale``."""
    size = pixels.shape[1]
    block = max(side for side in range(1, max(1, int(scale)) + 1) if size % side == 0)
    shape = (len(pixels), size // block, block, size // block, block, 3)
    means = pixels.reshape(shape).mean(axis=(2, 4), dtype=np.float64)
    scaled = np.clip(np.nan_to_num((means - low) / (high - low)), 0, 1)
    return np.asarray(np.rint(255 * scaled), dtype=np.uint8)


def _put(
    picture: NDArray[np.uint8], look: NDArray[np.uint8], window: Sequence[int], scale: float
) -> None:
    """Draw a tile into its window, the nearest of its pixels for each dot."""
    top, left, height, width = window
    axes = []
    for start, length, most in ((top, height, picture.shape[0]), (left, width, picture.shape[1])):
        dots = np.arange(max(0, int(start / scale)), min(most, int((start + length) / scale) + 1))
        at = ((dots + 0.5) * scale - start) / length
        inside = (at >= 0) & (at < 1)
        axes.append((dots[inside], (at[inside] * look.shape[0]).astype(int)))
    (down, rows), (across, columns) = axes
    picture[np.ix_(down, across)] = look[np.ix_(rows, columns)]


def jpeg(picture: NDArray[np.uint8], quality: int = 82) -> str:
    """A small picture (H, W, 3) as a data URL."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "jpeg", quality=quality, optimize=True)
    return url("jpeg", file)


def png(picture: NDArray[np.uint8]) -> str:
    """A picture (H, W, 3) dot by dot as a data URL."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "png", optimize=True)
    return url("png", file)


def url(kind: str, file: io.BytesIO) -> str:
    """A file in memory as a data URL."""
    return f"data:image/{kind};base64," + base64.b64encode(file.getvalue()).decode()


def payload(found: Sequence[Ground]) -> dict[str, Any]:
    """All of it for the page's scripts, by file."""
    return {
        one.source: {"rows": one.rows, "columns": one.columns, "picture": one.picture}
        for one in found
    }
