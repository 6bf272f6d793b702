"""Kernels made by hand, run over a band of the tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline.figures import kernels as figures
from pipeline.kernels import KERNELS, Slid, Slide
from pipeline.looks.base import Look, under
from pipeline.report import Picture, Section
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import VisualizeSection

# Blurs and edges; the identity shows nothing that the band itself does not.
SHOWN = [name for name in KERNELS if name != "identity"]
IN_NUMBERS = "sobel_x"
TEXT = (
    "The same sliding sums with weights that a person chose: blurs add up a neighbourhood, edges "
    "subtract one side from the other. Others: python -m pipeline kernel."
)


def check(trained: Trained, settings: VisualizeSection) -> None:
    """Refuse a band that the tiles lack."""
    with under("visualize.kernel_band"):
        trained.store.bands.index(band_of(trained, settings))


def band_of(trained: Trained, settings: VisualizeSection) -> str:
    """The band named in ``visualize.kernel_band``, or the last."""
    return settings.kernel_band or trained.store.bands.names[-1]


def draw(look: Look) -> list[Section]:
    """Hand-made kernels over one band of the tiles, and one of them in numbers."""
    band, shown = band_of(look.trained, look.settings), look.shown
    values, slide = shown.pixels[..., look.bands.index(band)], Slide()
    masks = {name: KERNELS[name] for name in SHOWN}
    answers = {
        name: np.stack([slide.apply(value, kernel) for value in values])
        for name, kernel in masks.items()
    }
    figure = figures.over_tiles(list(zip(shown.names, values, strict=True)), answers, masks, band)
    alt = f"Blurs and edges of the band {band}."
    pictures = [Picture(f"Band {band}", look.save(figure, "kernels.png"), alt)]
    slid = Slid.peak(IN_NUMBERS, KERNELS[IN_NUMBERS], values[0], slide)
    title = f"{IN_NUMBERS} on {band} of {shown.names[0]}: {shown.ids[0]}"
    path = look.save(figures.sliding(slid, title), "kernel.png")
    alt = f"One window of {IN_NUMBERS} in numbers, and its answers with each padding."
    return [
        Section(
            "kernels",
            "Kernels made by hand",
            TEXT,
            [*pictures, Picture("One window in numbers", path, alt)],
        )
    ]
