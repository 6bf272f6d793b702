"""What an autoencoder makes of the tiles."""

from __future__ import annotations

import numpy as np

from pipeline.figures import reconstructions
from pipeline.looks.base import Look
from pipeline.report import Picture, Section

TEXT = "What is left of a tile once it has passed the narrowest layer."


def draw(look: Look) -> list[Section]:
    """The tiles beside what the network draws of them, if it does."""
    trained, shown = look.trained, look.shown
    if not trained.bundle.reconstructs:
        return []
    drawn = trained.bundle.reconstructions(shown.pixels, batch_size=len(shown.pixels))
    look.save_arrays("reconstructions", {"rows": np.array(shown.rows), "pixels": drawn})
    pairs = reconstructions.pairs(shown.pixels, drawn, shown.names, look.bands, trained.deviation)
    path = look.save(pairs, "reconstructions.png")
    picture = Picture("Reconstructions", path, "Tiles, their reconstructions, and the errors.")
    return [Section("reconstructions", "Tiles drawn again", TEXT, [picture])]
