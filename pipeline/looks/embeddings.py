"""Where tiles lie in what the network makes of them, and which training tiles lie next to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import console, embeddings
from pipeline.embeddings import Floats, Neighbours, Placed, Separation
from pipeline.errors import ConfigError, NetworkError
from pipeline.figures import embeddings as figures
from pipeline.figures.canvas import FAINT
from pipeline.figures.embeddings import Panel, Told
from pipeline.figures.gallery import Line, Row, Shown, gallery
from pipeline.looks.base import SPLIT, Look, evenly
from pipeline.report import Picture, Section
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import EmbeddingSection, VisualizeSection

KNOWN = 2000  # training tiles that neighbours are looked for among
COUNT = 5  # neighbours that are shown
LEAST = 4  # tiles that can be laid out


def check(trained: Trained, settings: VisualizeSection) -> None:
    """Refuse UMAP where it is not installed, and a section that lays nothing out."""
    if settings.embedding is None:
        return
    if not settings.embedding.methods:
        known = ", ".join(embeddings.METHODS)
        raise ConfigError(
            f"Expected one of {known} or more in visualize.embedding.methods, got none. Set "
            "visualize.embedding=null to leave it out."
        )
    if "umap" in settings.embedding.methods:
        embeddings.check_umap()


def draw(look: Look) -> list[Section]:
    """Layouts of test tiles, and the nearest training tiles of those shown."""
    settings, store = look.settings.embedding, look.trained.store
    if settings is None:
        return []
    rows = evenly(store.count(SPLIT), settings.tiles)
    known_rows = evenly(store.count("train"), KNOWN)
    if min(len(rows), len(known_rows)) < LEAST:
        console.say("Too few tiles to lay out: no embedding is shown.")
        return []
    network, pixels = look.trained.bundle.network, store.pixels(SPLIT, rows)
    try:
        found = embeddings.features(network, pixels)
    except NetworkError as error:
        console.say(f"No embedding is shown. {error}")
        return []
    known = embeddings.features(network, store.pixels("train", known_rows))
    told = _told(look, pixels, rows)
    placed = [embeddings.place(found, method, settings.seed) for method in settings.methods]
    arrays = {"rows": rows, "features": found, "labels": told.labels}
    look.save_arrays("embedding", arrays | {one.method: one.places for one in placed})
    text = _words(look, found, told, known, store.labels("train")[known_rows])
    return [
        Section(
            "embedding", "Where tiles lie", text, _layouts(look, settings, placed, told, pixels)
        ),
        _nearest(look, known, known_rows),
    ]


def _told(look: Look, pixels: NDArray[np.generic], rows: NDArray[np.int64]) -> Told:
    bundle, store = look.trained.bundle, look.trained.store
    named = None
    if not bundle.reconstructs:
        found = bundle.probabilities(pixels, batch_size=look.settings.batch_size)
        named = found.argmax(axis=1)
    return Told(store.labels(SPLIT)[rows], named, store.classes)


def _words(
    look: Look, found: Floats, told: Told, known: Floats, known_labels: NDArray[np.int64]
) -> str:
    """What the numbers say that the pictures can't."""
    what = (
        "what the narrowest layer leaves of a tile"
        if look.trained.bundle.reconstructs
        else "what the last layer is given of a tile"
    )
    text = (
        f"Each of {len(found):,} test tiles is a point: {what}, {found.shape[1]} numbers, laid out "
        "in a plane. Sizes of groups and gaps between them say little where neighbours are kept "
        "(t-SNE, UMAP)."
    )
    if not len(told.classes):
        return text
    apart: Separation = embeddings.separation(found, told.labels, known, known_labels)
    beside = ""
    if told.named is not None:
        share = float((told.named == told.labels).mean())
        beside = f"; the network itself names {100 * share:.1f} % of them rightly"
    return (
        f"{text} In all {found.shape[1]} numbers, the {min(embeddings.NEAR, len(known))} nearest "
        f"of {len(known):,} training tiles vote for the right class in "
        f"{100 * apart.neighbours:.1f} % of the tiles{beside}. Silhouette "
        f"{apart.silhouette:.2f}: 1 would be classes far apart, 0 classes that touch."
    )


def _layouts(
    look: Look,
    settings: EmbeddingSection,
    placed: list[Placed],
    told: Told,
    pixels: NDArray[np.generic],
) -> list[Picture]:
    panels = [
        Panel(
            f"{embeddings.NAMES[one.method]}, trustworthiness {one.trustworthiness:.2f}",
            one.places,
            one.axes,
        )
        for one in placed
    ]
    figure = figures.layouts(
        panels,
        told,
        "Where tiles lie",
        f"{len(pixels):,} test tiles. Trustworthiness: how far neighbours in the picture are "
        "neighbours in the features; 1 is all, 0.5 about what chance gives.",
    )
    path = look.save(figure, "embedding.png")
    pictures = [Picture("Test tiles", path, "Test tiles as points, a colour a class.")]
    if settings.thumbnails:
        colours = told.classes.colours
        shades = [colours[k] for k in told.labels] if colours else [FAINT] * len(pixels)
        title = f"Tiles where {embeddings.NAMES[placed[-1].method]} puts them"
        made = figures.thumbnails(panels[-1], pixels, shades, look.bands, title)
        path = look.save(made, "embedding_tiles.png")
        pictures.append(Picture("As tiles", path, "Test tiles, laid out by their features."))
    return pictures


def _nearest(look: Look, known: Floats, known_rows: NDArray[np.int64]) -> Section:
    """The nearest training tiles of the tiles shown."""
    store, shown = look.trained.store, look.shown
    found = embeddings.features(look.trained.bundle.network, shown.pixels)
    nearest = embeddings.neighbours(found, known, COUNT)
    rows = known_rows[nearest.rows]
    look.save_arrays("neighbours", {"rows": np.array(shown.rows), "training_rows": rows,
                                    "distances": nearest.distances})  # fmt: skip
    lines = [_row(look, i, rows[i], nearest) for i in range(len(shown.rows))]
    figure = gallery(
        lines,
        store.bands,
        "What it looks like to the network",
        f"At the left a test tile, then the nearest of {len(known):,} training tiles in the "
        "network's features. A distance of 1 is what two tiles have at the median.",
    )
    path = look.save(figure, "neighbours.png")
    text = (
        "For each tile the training tiles that the network can tell from it least. Neighbours of "
        "another class are what it may be taken for; far ones say that training had nothing like "
        "it."
    )
    picture = Picture("Nearest training tiles", path, "Test tiles beside their neighbours.")
    return Section("neighbours", "What a tile looks like to the network", text, [picture])


def _row(look: Look, i: int, rows: NDArray[np.int64], nearest: Neighbours) -> Row:
    store, shown = look.trained.store, look.shown
    names, colours = store.names("train"), store.classes.colours
    labels = store.labels("train")
    first = Shown(shown.pixels[i], [Line(shown.names[i], shown.colours[i]), Line("test tile")])
    others = [
        Shown(
            tile,
            [
                Line(names[row] or f"training tile {row}", colours[labels[row]] if colours else ""),
                Line(f"distance {nearest.distances[i, k]:.2f}"),
            ],
        )
        for k, (row, tile) in enumerate(zip(rows, store.pixels("train", rows), strict=True))
    ]
    return Row("", [first, *others])
