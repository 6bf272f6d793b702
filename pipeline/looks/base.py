"""What a look at a trained network is given, and where it puts what it draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.figures import canvas
from pipeline.trained import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pipeline.schema import VisualizeSection
    from pipeline.types import Bands

SPLIT = "test"


@contextmanager
def under(key: str) -> Iterator[None]:
    """A while in which a mistake is one of a key of params.yaml, and says so."""
    try:
        yield
    except PipelineError as error:
        raise type(error)(f"{key}: {error}") from error


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """Up to so many rows of so many, evenly from end to end."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


@dataclass(frozen=True, slots=True)
class Shown:
    """Tiles that are looked at."""

    rows: list[int]  # of the test split
    pixels: NDArray[Any]  # (N, H, W, C)
    names: list[str]  # true class of each
    ids: list[str]
    colours: list[str]


@dataclass(frozen=True, slots=True)
class Look:
    """A trained network, the tiles to look at it with, and what is asked for."""

    trained: Trained  # a single network: of an ensemble the member that was chosen
    shown: Shown
    settings: VisualizeSection
    out: Path

    @property
    def bands(self) -> Bands:
        """Bands of a tile."""
        return self.trained.bundle.bands

    def save(self, figure: Figure, name: str) -> Path:
        """Write a picture."""
        return canvas.save(figure, self.out / name)

    def save_arrays(self, name: str, arrays: dict[str, Any]) -> None:
        """Keep the numbers behind the pictures for those who want them."""
        np.savez(self.out / f"{name}.npz", **arrays)
