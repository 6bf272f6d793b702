"""Value objects that travel through the pipeline: frozen, and validated at birth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BandError, ClassError, SourceError

# Paul Tol's colour-blind-safe "bright" and "light" schemes fill in where a class has no colour of
# its own (https://personal.sron.nl/~pault/).
FALLBACK_COLOURS = (
    "#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377",
    "#77AADD", "#EE8866", "#44BB99", "#FFAABB", "#99DDFF", "#BBCC33",
)  # fmt: skip
# Land cover has its own conventions: water is blue and trees are green on any map.
KNOWN_COLOURS = {
    "building": "#CC3311",
    "barren_land": "#B89B6A",
    "barren land": "#B89B6A",
    "trees": "#117733",
    "grassland": "#A6C34A",
    "road": "#4D4D4D",
    "water": "#3377BB",
}


def _repeated(names: Sequence[str]) -> list[str]:
    return sorted({name for name in names if names.count(name) > 1})


@dataclass(frozen=True, slots=True)
class Bands:
    """The bands of a tile, by name, in the order of its last axis."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise BandError("Expected at least one band, got none. Name them with source.bands.")
        if repeated := _repeated(self.names):
            raise BandError(f"Expected band names that differ, got {', '.join(repeated)} twice.")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def index(self, name: str) -> int:
        """Position of a band on the last axis of a tile."""
        if name not in self.names:
            known = ", ".join(self.names)
            raise BandError(f"Expected one of the bands {known}, got {name!r}.")
        return self.names.index(name)

    def composite(self, wanted: Sequence[str]) -> tuple[int, int, int]:
        """Positions of the bands to show as red, green and blue.

        Bands that are not there are filled in from those that are, so any number of bands shows.
        """
        have = [self.names.index(name) for name in wanted if name in self.names]
        rest = [i for i in range(len(self.names)) if i not in have]
        chosen = (have + rest)[:3]
        first, second, third = (chosen + [chosen[-1]] * 3)[:3]
        return first, second, third

    @property
    def natural(self) -> tuple[int, int, int]:
        """Positions of red, green, blue."""
        return self.composite(("red", "green", "blue"))

    @property
    def false_colour(self) -> tuple[int, int, int]:
        """Positions of near infrared, red, green: vegetation shows red."""
        return self.composite(("nir", "red", "green"))


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes, by name, in the order of the network's outputs, each with its one colour.

    Tiles without labels have none.
    """

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) == 1:
            raise ClassError(f"Expected two classes or more, got {list(self.names)}.")
        if repeated := _repeated(self.names):
            raise ClassError(f"Expected class names that differ, got {', '.join(repeated)} twice.")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def index(self, name: str) -> int:
        """Label of a class."""
        if name not in self.names:
            raise ClassError(f"Expected one of the classes {', '.join(self.names)}, got {name!r}.")
        return self.names.index(name)

    @property
    def colours(self) -> tuple[str, ...]:
        """One ``#RRGGBB`` a class, used in every figure, page and map."""
        spare = iter(c for c in FALLBACK_COLOURS * (1 + len(self.names) // 12))
        return tuple(KNOWN_COLOURS.get(name) or next(spare) for name in self.names)


class Window(NamedTuple):
    """A rectangle of a raster's pixels; rows grow downwards."""

    row: int
    col: int
    height: int
    width: int


class Bounds(NamedTuple):
    """A rectangle on the ground, in units of its CRS."""

    left: float
    bottom: float
    right: float
    top: float


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of pixels with its label and its place."""

    pixels: NDArray[np.generic]  # (H, W, C), the source's own number type
    label: int
    id: str
    source: str  # file it came from, relative to source.root
    window: Window
    bounds: Bounds | None = None  # None: not georeferenced
    crs: str | None = None
    group: str = ""  # tiles of a group never straddle two splits
    purity: float = 1.0  # share of the tile that its class covers

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[0] != shape[1]:
            raise SourceError(f"Expected a square (H, W, C) tile, got shape {shape} for {self.id}.")
        if not 0.0 <= self.purity <= 1.0:
            raise SourceError(f"Expected a purity from 0 to 1, got {self.purity} for {self.id}.")
