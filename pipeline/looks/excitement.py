"""Which test tiles excite a filter most, and how selective it is of the classes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline import probes
from pipeline.figures import activations as figures
from pipeline.figures.activations import Spot
from pipeline.looks.activations import views
from pipeline.looks.base import SPLIT, Look
from pipeline.looks.census import Census
from pipeline.looks.layers import MODERATE, chosen
from pipeline.report import Picture, Section

BEST = 5  # tiles of a filter that are shown


def sections(look: Look, found: dict[str, Census]) -> list[Section]:
    """A section a layer."""
    arrays = {}
    for layer, one in found.items():
        arrays[f"{layer}.highest"] = one.peaks.highest
        arrays[f"{layer}.mean"] = one.peaks.means
    if found:
        rows = next(iter(found.values())).rows
        look.save_arrays("excitement", {"rows": rows, **arrays})
    return [_section(look, one) for one in found.values()]


def _section(look: Look, census: Census) -> Section:
    text = (
        "The test tiles on which a filter gives its highest value; framed is the patch that made "
        "it, the receptive field of that place. Pixels outside it change nothing there."
    )
    pictures = [_exciting(look, census)]
    if len(look.trained.store.classes):
        pictures.append(_selective(look, census))
    return Section(
        f"excitement-{census.layer}", f"What excites the filters of {census.layer}", text, pictures
    )


def _exciting(look: Look, census: Census) -> Picture:
    """The tiles that the chosen filters answer to most."""
    store = look.trained.store
    filters = chosen(look.trained, census.layer, look.settings.filters)
    best = [census.top(index, BEST) for index in filters]
    places = sorted({place for some in best for place in some})
    seen = dict(zip(places, views(look, store.pixels(SPLIT, census.rows[places])), strict=True))
    names = store.names(SPLIT)
    rows = []
    for index, some in zip(filters, best, strict=True):
        tiles = []
        for place in some:
            row, value = int(census.rows[place]), float(census.peaks.highest[place, index])
            colour = store.classes.colours[census.labels[place]] if len(store.classes) else ""
            told = [(names[row] or "tile", colour), (f"{SPLIT} {row}: {value:.3g}", "")]
            tiles.append(Spot(list(seen[place].values()), told, census.patch(place, index)))
        rows.append((f"filter {index}", tiles))
    among = "all" if len(census.rows) == store.count(SPLIT) else "evenly spread"
    figure = figures.spots(
        rows,
        f"Test tiles that excite filters of {census.layer} most",
        f"Among {among} {len(census.rows):,} test tiles, by the highest value of the filter's map "
        f"behind {census.heard}, which is given. Framed: the pixels that made it.",
    )
    path = look.save(figure, f"exciting_{census.layer}.png")
    alt = f"For some filters of {census.layer} the test tiles with the highest answers."
    return Picture("Tiles that excite it", path, alt)


def _selective(look: Look, census: Census) -> Picture:
    """Mean answers by class as a heat map, filters by the class that they prefer."""
    classes = look.trained.store.classes
    means = by_class(census.peaks.means, census.labels, len(classes))
    there = np.bincount(census.labels, minlength=len(classes)) > 0
    index = selectivity(means[there])
    largest = np.array(
        probes.strongest(probes.filters(look.trained.bundle.network, census.layer), MODERATE)
    )
    preferred = means.argmax(axis=0)
    order = largest[np.lexsort((-index[largest], preferred[largest]))]
    cut = (
        f" The {len(order)} largest of {means.shape[1]} filters."
        if len(order) < means.shape[1]
        else ""
    )
    figure = figures.selectivity(
        means[:, order],
        index[order],
        [str(i) for i in order],
        list(zip(classes.names, classes.colours, strict=True)),
        f"What classes the filters of {census.layer} answer to",
        f"Answers behind {census.heard}, what is above 0, mean over places and test tiles of a "
        "class. Bars, in the colour of the class preferred: the selectivity index of Morcos et al. "
        "2018, (most - others) / (most + others), of the class answered to most and the mean of "
        f"the others; 1: one class alone, 0: all alike. Mean {index.mean():.2f}.{cut}",
    )
    path = look.save(figure, f"selectivity_{census.layer}.png")
    alt = f"Mean answer of each filter of {census.layer} to each class, and how selective it is."
    return Picture("By class", path, alt)


def by_class(
    means: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> NDArray[np.float64]:
    """Mean answer (K, F) of filters to tiles of a class, from (N, F); 0 where it has no tile."""
    sums = np.zeros((classes, means.shape[1]))
    np.add.at(sums, labels, means)
    counts: NDArray[np.int64] = np.bincount(labels, minlength=classes)
    return sums / np.maximum(counts, 1)[:, None]


def selectivity(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Class selectivity index (F,) from mean answers (K, F), none below 0.

    (m - o) / (m + o), of the highest mean m and the mean o of the others: Morcos, Barrett,
    Rabinowitz and Botvinick 2018, https://arxiv.org/abs/1803.06959. 0 of a filter that is silent.
    """
    most = means.max(axis=0)
    others = (means.sum(axis=0) - most) / max(1, len(means) - 1)
    total = most + others
    return np.asarray(np.where(total > 0, (most - others) / np.where(total > 0, total, 1), 0.0))
