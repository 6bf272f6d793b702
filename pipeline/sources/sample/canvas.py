"""The sheet that a landscape is drawn on: rectangles along two axes, in metres.

Everything built is drawn straight; ``render`` then turns and bends the sheet into the picture, so
that roads curve, and houses stand along them, at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.sample.spectra import INDEX


class Box(NamedTuple):
    """A rectangle of the sheet, in metres; rows grow downwards."""

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        """Metres from top to bottom."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """Metres from left to right."""
        return self.right - self.left

    def turned(self) -> Box:
        """Rows and columns exchanged."""
        return Box(self.left, self.top, self.right, self.bottom)

    def inset(self, margin: float) -> Box:
        """Smaller by ``margin`` on every side."""
        return Box(self.top + margin, self.left + margin, self.bottom - margin, self.right - margin)

    def strips(self, width: float, gap: float = 0.0) -> list[Box]:
        """Strips from left to right that fill the box, about ``width`` wide, ``gap`` apart."""
        count = max(1, round((self.width + gap) / (width + gap)))
        width = (self.width + gap) / count - gap
        lefts = [self.left + i * (width + gap) for i in range(count)]
        return [Box(self.top, left, self.bottom, left + width) for left in lefts]


@dataclass(frozen=True, slots=True)
class Canvas:
    """Layers of the sheet, (rows, columns), a point every ``step`` metres."""

    step: float
    material: NDArray[np.uint8]
    height: NDArray[np.float32]  # metres above ground
    tint: NDArray[np.float32]  # factor on reflectance
    warmth: NDArray[np.float32]  # red up and blue down by this share
    canopy: NDArray[np.uint8]  # chance of a tree, in percent
    wet: NDArray[np.bool_]  # under water

    @classmethod
    def blank(cls, side: float, step: float) -> Canvas:
        """A meadow of ``side`` metres."""
        shape = (int(np.ceil(side / step)), int(np.ceil(side / step)))
        return cls(
            step,
            np.full(shape, INDEX["grass_hay"], dtype=np.uint8),
            np.zeros(shape, dtype=np.float32),
            np.ones(shape, dtype=np.float32),
            np.zeros(shape, dtype=np.float32),
            np.zeros(shape, dtype=np.uint8),
            np.zeros(shape, dtype=np.bool_),
        )

    @property
    def side(self) -> float:
        """Metres from edge to edge."""
        return float(self.material.shape[0] * self.step)

    def turned(self) -> Canvas:
        """The same sheet, rows and columns exchanged; drawing on it draws on this one."""
        layers = (self.material, self.height, self.tint, self.warmth, self.canopy, self.wet)
        return Canvas(self.step, *(layer.T for layer in layers))  # type: ignore[arg-type]

    def cut(self, box: Box) -> tuple[slice, slice]:
        """Rows and columns of a box, clipped to the sheet."""
        top, left, bottom, right = (max(0, round(edge / self.step)) for edge in box)
        return slice(top, max(top, bottom)), slice(left, max(left, right))

    def is_dry(self, box: Box) -> bool:
        """Whether a box lies clear of water."""
        return not self.wet[self.cut(box)][::4, ::4].any()

    def fill(
        self,
        box: Box,
        material: str,
        tint: float | NDArray[np.float32] = 1.0,
        warmth: float = 0.0,
        height: float | NDArray[np.float32] = 0.0,
    ) -> None:
        """Cover a box with a material; no tree stands there any more."""
        where = self.cut(box)
        self.material[where] = INDEX[material]
        self.tint[where] = tint
        self.warmth[where] = warmth
        self.height[where] = height
        self.canopy[where] = 0

    def mark(self, box: Box, material: str, tint: float, columns: NDArray[np.bool_]) -> None:
        """Cover some columns of a box."""
        where = self.cut(box)
        self.material[where][:, columns] = INDEX[material]
        self.tint[where][:, columns] = tint

    def shade(self, box: Box, factor: float | NDArray[np.float32]) -> None:
        """Brighten or darken what lies in a box."""
        self.tint[self.cut(box)] *= factor

    def points(self, box: Box) -> tuple[int, int]:
        """Number of rows and columns of the sheet that lie in a box."""
        rows, cols = self.tint[self.cut(box)].shape
        return rows, cols

    def across(self, box: Box) -> NDArray[np.float32]:
        """Metres from the left edge of a box, of each of its columns."""
        return (np.arange(self.points(box)[1], dtype=np.float32) + 0.5) * np.float32(self.step)

    def down(self, box: Box) -> NDArray[np.float32]:
        """Metres from the top edge of a box, of each of its rows; (rows, 1)."""
        rows = np.arange(self.points(box)[0], dtype=np.float32)[:, None]
        return (rows + np.float32(0.5)) * np.float32(self.step)
