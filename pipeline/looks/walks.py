"""Walks through the narrowest layer of an autoencoder: between tiles, and along its directions."""

from __future__ import annotations

import numpy as np

from pipeline import console, walks
from pipeline.errors import NetworkError
from pipeline.figures import embeddings as figures
from pipeline.looks.base import Look, evenly
from pipeline.report import Picture, Section
from pipeline.walks import Halves

STEPS = 7  # of a walk
DIRECTIONS = 6  # that are walked
KNOWN = 2000  # training tiles that say where they lead
TEXT = (
    "What the second half of the network draws from numbers that no tile gave. Between two tiles: "
    "where shapes turn into each other, the numbers are used throughout; where one tile fades into "
    "the other, it only mixes what it knows. Along the directions in which training tiles differ "
    "most: what such a direction stands for, from the mean of all tiles outwards."
)


def draw(look: Look) -> list[Section]:
    """Both kinds of walks, if the network reconstructs its tile."""
    bundle, store = look.trained.bundle, look.trained.store
    if not bundle.reconstructs:
        return []
    try:
        halves = Halves.of(bundle.network, look.shown.pixels)
    except NetworkError as error:
        console.say(f"No walks are shown. {error}")
        return []
    pictures = [_between(look, halves)] if len(look.shown.rows) > 1 else []
    training = store.pixels("train", evenly(store.count("train"), KNOWN))
    if len(training) > DIRECTIONS:
        found = walks.along(halves, training, DIRECTIONS, STEPS)
        look.save_arrays("directions", {"tiles": found.tiles, "shares": found.shares,
                                        "positions": found.positions})  # fmt: skip
        figure = figures.walks(
            found.tiles,
            [
                f"direction {i + 1}\n{100 * share:.0f} % of the\nvariance"
                for i, share in enumerate(found.shares)
            ],
            [_signed(position) for position in found.positions],
            None,
            look.bands,
            "The strongest directions of the narrowest layer",
            f"Principal components of the codes of {len(training):,} training tiles; over each "
            "column how many deviations from the mean.",
        )
        path = look.save(figure, "directions.png")
        pictures.append(Picture("Directions", path, "Tiles drawn along each direction."))
    return [Section("walks", "Walks between tiles", TEXT, pictures)] if pictures else []


def _between(look: Look, halves: Halves) -> Picture:
    shown = look.shown
    first, second = shown.pixels[:-1], shown.pixels[1:]
    tiles = walks.between(halves, first, second, STEPS)
    look.save_arrays("walks", {"rows": np.array(shown.rows), "tiles": tiles})
    columns = [f"{round(100 * t)} %" for t in np.linspace(0, 1, STEPS)]
    headings = [
        f"{here}\nto {there}" for here, there in zip(shown.names, shown.names[1:], strict=False)
    ]
    figure = figures.walks(
        tiles,
        headings,
        columns,
        (first, second),
        look.bands,
        "Walks from tile to tile",
        "In a straight line through the narrowest layer, between the real tiles at the ends.",
    )
    path = look.save(figure, "walks.png")
    return Picture("From tile to tile", path, "Tiles drawn on the way from one to another.")


def _signed(position: float) -> str:
    return "mean" if abs(position) < 0.05 else f"{position:+.1f}".replace("-", "\N{MINUS SIGN}")
