"""Filters of convolutions: what each looks for in every place of its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline import probes
from pipeline.figures import filters as figures
from pipeline.looks.base import Look
from pipeline.looks.census import Census
from pipeline.looks.layers import MODERATE, Sight
from pipeline.report import Picture, Section
from pipeline.wording import learnables, settings, told

ALIKE = 0.95  # magnitude of the cosine from which on filters are told as duplicates
NOTHING = 1e-3  # share of the largest norm below which a filter is told as dead


def sections(look: Look, found: dict[str, Census]) -> list[Section]:
    """A section a layer: in colour, if it sees the bands, channel by channel, and by band."""
    network = look.trained.bundle.network
    look.save_arrays("filters", {layer: probes.filters(network, layer) for layer in found})
    return [_section(look, layer, one) for layer, one in found.items()]


def _section(look: Look, layer: str, census: Census) -> Section:
    network = look.trained.bundle.network
    weights, sight = probes.filters(network, layer), Sight.of(network, layer)
    marks = Marks.of(weights, census)
    text = " ".join(
        [
            "What the convolution looks for in each place of its input.",
            _inspected(look, layer, sight),
            *marks.sentences(len(census.rows)),
        ]
    )
    return Section(
        f"filters-{layer}", f"Filters of {layer}", text, _pictures(look, layer, sight, marks)
    )


def _inspected(look: Look, layer: str, sight: Sight) -> str:
    """Settings and shapes, as a network inspector lists them, and what the layer sees."""
    module = probes.convolution(look.trained.bundle.network, layer)
    shapes = told(learnables(module)) + ("" if module.bias is not None else ", no bias")
    seen = f"It sees {len(sight.channels)} maps of the layers before it."
    if len(sight.channels) == 1 and sight.bands is None:
        seen = "Each filter sees one map of the layer before it."
    if sight.bands is not None:
        how = f"which Normalize has {sight.normalized}" if sight.normalized else "in raw values"
        seen = f"It sees {', '.join(sight.channels)}, {how}."
    return f"{type(module).__name__} {settings(module)}: {shapes}. {seen}"


def _pictures(look: Look, layer: str, sight: Sight, marks: Marks) -> list[Picture]:
    weights = probes.filters(look.trained.bundle.network, layer)
    shown = ordered(weights, look.settings.sort)
    some, labels = weights[shown], [marks.label(i) for i in shown]
    sorting = {"norm": "the largest norm first", "similarity": "like beside like"}
    cut = (
        f"The {len(shown)} largest of {len(weights)} filters, "
        if len(shown) < len(weights)
        else "Filters, "
    )
    caption = f"{cut}{sorting[look.settings.sort]}. {marks.legend()}".strip()
    made = []
    if sight.bands is not None:
        bands = sight.bands
        views = {"false colour": bands.false_colour, "natural colour": bands.natural}
        if len(set(views.values())) == 1:
            del views["natural colour"]
        for name, chosen in views.items():
            title = f"Filters of {layer} in {name}"
            figure = figures.in_colour(some, labels, bands, chosen, title, caption)
            path = look.save(figure, f"filters_{layer}_{name.split()[0]}.png")
            made.append(Picture(f"In {name}", path, f"Filters of {layer} as tiles in {name}."))
    figure = figures.by_channel(
        some, labels, sight.channels, f"Filters of {layer}, channel by channel", caption
    )
    alt = f"Weights of the filters of {layer}, one panel for each input channel."
    path = look.save(figure, f"filters_{layer}_channels.png")
    made.append(Picture("Channel by channel", path, alt))
    what = "band" if sight.bands is not None else "input channel"
    title = f"What each {what} weighs in the filters of {layer}"
    figure = figures.response(some, labels, sight.channels, title, caption)
    alt = f"Sum and norm of the weights of each filter of {layer} by {what}."
    made.append(Picture(f"By {what}", look.save(figure, f"filters_{layer}_response.png"), alt))
    return made


def ordered(weights: NDArray[Any], sort: Literal["norm", "similarity"]) -> list[int]:
    """The largest filters (F, C, kh, kw), by their norm, or so that neighbours are alike.

    Alike by the cosine between them: the order of the leaves of an average-linkage tree that brings
    neighbours closest (Bar-Joseph, Gifford and Jaakkola 2001,
    https://doi.org/10.1093/bioinformatics/17.suppl_1.S22).
    """
    largest = probes.strongest(weights, MODERATE)
    some = weights[largest].reshape(len(largest), -1).astype(np.float64)
    if sort == "norm" or len(largest) < 3:
        return largest
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    apart = np.clip(1 - cosines(some), 0, 2)
    np.fill_diagonal(apart, 0)
    flat = squareform((apart + apart.T) / 2)
    order = leaves_list(optimal_leaf_ordering(linkage(flat, "average"), flat))
    return [largest[i] for i in order]


def cosines(vectors: NDArray[Any]) -> NDArray[np.float64]:
    """Cosines (F, F) between vectors (F, D); of one without length 0."""
    wide = vectors.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    unit = wide / np.where(norms > 0, norms, 1)[:, None]
    return np.asarray(unit @ unit.T)


@dataclass(frozen=True, slots=True)
class Marks:
    """Filters that are dead, and pairs of filters that are the same but for their size."""

    faint: list[int]  # with hardly any weight
    silent: list[int]  # never positive behind the ReLU
    pairs: list[tuple[int, int, float]]  # two filters and their cosine, the closest first
    heard: str  # the layer behind which they are silent

    @classmethod
    def of(cls, weights: NDArray[Any], census: Census) -> Marks:
        """Of filters (F, C, kh, kw) and what they answer to the test tiles."""
        flat = weights.reshape(len(weights), -1)
        norms = np.linalg.norm(flat.astype(np.float64), axis=1)
        faint = np.flatnonzero(norms <= NOTHING * norms.max()).tolist()
        silent = []
        if census.rectified and len(census.rows):
            silent = np.flatnonzero(census.peaks.highest.max(axis=0) <= 0).tolist()
        same = cosines(flat)
        close = np.argwhere(np.triu(np.abs(same) > ALIKE, k=1))
        pairs = [
            (int(a), int(b), float(same[a, b])) for a, b in close if not {int(a), int(b)} & {*faint}
        ]
        pairs.sort(key=lambda pair: -abs(pair[2]))
        return cls(faint, silent, pairs, census.heard)

    def label(self, index: int) -> str:
        """Number of a filter, with a dagger if it is dead and the filter that it repeats."""
        dead = "\N{DAGGER}" if index in self.faint or index in self.silent else ""
        for first, second, cosine in self.pairs:
            if index in (first, second):
                other = second if index == first else first
                return f"{index}{dead} {'≈' if cosine > 0 else '≈−'}{other}"  # noqa: RUF001
        return f"{index}{dead}"

    def legend(self) -> str:
        """What the marks mean, as far as there are any."""
        dead = "† dead. " if self.faint or self.silent else ""
        alike = f"≈ alike, ≈− opposite (cosine beyond ±{ALIKE:g})." if self.pairs else ""  # noqa: RUF001
        return (dead + alike).strip()

    def sentences(self, tiles: int) -> list[str]:
        """What is wrong with the filters, or that nothing is."""
        said = []
        if self.faint:
            said.append(f"Next to no weight in {_listed(self.faint)}.")
        if self.silent:
            said.append(
                f"Dead: {_listed(self.silent)}, never above 0 behind {self.heard} on {tiles:,} "
                "test tiles."
            )
        if self.pairs:
            pairs = ", ".join(f"{a} and {b} ({cosine:.2f})" for a, b, cosine in self.pairs[:8])
            more = f", and {len(self.pairs) - 8} more" if len(self.pairs) > 8 else ""
            said.append(f"The same but for size and sign, by their cosine: {pairs}{more}.")
        return said or ["No filter is dead, and no two are the same."]


def _listed(filters: list[int]) -> str:
    word = "filter" if len(filters) == 1 else "filters"
    return f"{word} {', '.join(map(str, filters))}"
