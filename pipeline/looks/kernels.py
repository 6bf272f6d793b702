"""Kernels made by hand, run over a band of the tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pipeline import probes
from pipeline.figures import inside
from pipeline.looks.base import Look
from pipeline.report import Picture, Section
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import VisualizeSection

# Blurs and edges; the identity shows nothing that the band itself does not.
KERNELS = [name for name in probes.KERNELS if name != "identity"]
TEXT = (
    "The same sliding sums with weights that a person chose: blurs add up a neighbourhood, edges "
    "subtract one side from the other."
)


def check(trained: Trained, settings: VisualizeSection) -> None:
    """Refuse a band that the tiles lack."""
    trained.store.bands.index(band_of(trained, settings))


def band_of(trained: Trained, settings: VisualizeSection) -> str:
    """The band named in ``visualize.kernel_band``, or the last."""
    return settings.kernel_band or trained.store.bands.names[-1]


def draw(look: Look) -> list[Section]:
    """Hand-made kernels over one band of the tiles."""
    band, shown = band_of(look.trained, look.settings), look.shown
    values = shown.pixels[..., look.bands.index(band)]
    answers = {
        name: np.stack([probes.apply_kernel(value, probes.KERNELS[name]) for value in values])
        for name in KERNELS
    }
    masks = {name: probes.KERNELS[name] for name in KERNELS}
    figure = inside.kernels(list(zip(shown.names, values, strict=True)), answers, masks, band)
    alt = f"Blurs and edges of the band {band}."
    picture = Picture(f"Band {band}", look.save(figure, "kernels.png"), alt)
    return [Section("kernels", "Kernels made by hand", TEXT, [picture])]
