"""What filters answer to the tiles: layer after layer, all of a layer, the strongest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import probes
from pipeline.figures import activations as figures
from pipeline.figures.activations import Answers, Spot
from pipeline.figures.canvas import Stretch
from pipeline.looks.base import Look
from pipeline.looks.census import Census
from pipeline.looks.layers import MODERATE, chosen
from pipeline.report import Picture, Section
from pipeline.trained import Trained

TEXT = (
    "Tiles as some of the filters see them: after the convolution, then after the activation, and "
    "on to the first pooling if there is one. A further convolution on the way has filters of its "
    "own. Then all filters at once, and the one that answers most."
)


def sections(look: Look, found: dict[str, Census]) -> list[Section]:
    """A section a layer; the numbers of all go into one file."""
    network, shown = look.trained.bundle.network, look.shown
    steps = {layer: probes.chain(network, layer) for layer in found}
    wanted = {step.layer for chain in steps.values() for step in chain}
    heard = probes.activations(network, shown.pixels, sorted(wanted))
    look.save_arrays("activations", {"rows": np.array(shown.rows), **heard})
    made = []
    for layer, one in found.items():
        pictures = [
            *_of_tiles(look, layer, steps[layer], heard),
            _montage(look, one, heard[one.heard]),
            _strongest(look, one, heard[one.heard]),
        ]
        made.append(
            Section(f"activations-{layer}", f"What the filters of {layer} answer", TEXT, pictures)
        )
    return made


def views(look: Look, pixels: NDArray[Any]) -> list[dict[str, NDArray[Any]]]:
    """Natural and false colour of tiles (N, H, W, C), all stretched alike."""
    both = {"natural colour": look.bands.natural, "false colour": look.bands.false_colour}
    if len(set(both.values())) == 1:
        both = {"in colour": look.bands.natural}
    looks = Stretch.of(pixels).apply(pixels)
    return [{name: one[..., list(bands)] for name, bands in both.items()} for one in looks]


def _of_tiles(
    look: Look, layer: str, steps: Sequence[probes.Step], heard: dict[str, NDArray[Any]]
) -> list[Picture]:
    """What the chosen filters answer to each tile, layer after layer."""
    shown, filters = look.shown, chosen(look.trained, layer, look.settings.filters)
    pictures = []
    for i, seen in enumerate(views(look, shown.pixels)):
        maps = {step.layer: heard[step.layer][i] for step in steps}
        stages = answers(look.trained, steps, maps, filters)
        title = f"{shown.names[i]}: {shown.ids[i]}"
        path = look.save(
            figures.activations(seen, stages, title), f"activations_{layer}_{shown.rows[i]}.png"
        )
        alt = f"A tile of {shown.names[i]} and what filters of {layer} make of it."
        pictures.append(Picture(title, path, alt, shown.colours[i]))
    return pictures


def _montage(look: Look, census: Census, maps: NDArray[Any]) -> Picture:
    """All filters on the first tile."""
    shown, heard = look.shown, maps[0]
    numbers = list(range(len(heard)))
    if cut := len(heard) > MODERATE:
        weights = probes.filters(look.trained.bundle.network, census.layer)
        numbers = sorted(probes.strongest(weights, MODERATE))
    best = int(heard.max(axis=(1, 2)).argmax())
    figure = figures.montage(
        views(look, shown.pixels)[0],
        heard[numbers],
        [str(i) for i in numbers],
        f"All filters of {census.layer} on {shown.names[0]}: {shown.ids[0]}",
        f"Maps behind {census.heard}. Filter {best} has the highest answer, "
        f"{heard[best].max():.3g}."
        + (f" The {MODERATE} largest of {len(heard)} filters." if cut else ""),
    )
    path = look.save(figure, f"montage_{census.layer}.png")
    return Picture("All filters", path, f"Maps of all filters of {census.layer} on one tile.")


def _strongest(look: Look, census: Census, maps: NDArray[Any]) -> Picture:
    """Of each tile the filter with the highest answer, and the patch that it answers to."""
    shown, rows = look.shown, []
    for i, seen in enumerate(views(look, shown.pixels)):
        index, row, column = np.unravel_index(int(maps[i].argmax()), maps[i].shape)
        lines = [(shown.names[i], shown.colours[i]),
                 (f"filter {index}: {maps[i].max():.3g}", "")]  # fmt: skip
        place = (int(row), int(column))
        patch = census.patch_at(*place)
        rows.append(("", [Spot(list(seen.values()), lines, patch, maps[i][index], place)]))
    figure = figures.spots(
        rows,
        f"The filter of {census.layer} that answers most",
        f"Beside each tile the map of the filter behind {census.heard}; framed are its highest "
        "value and the pixels that made it.",
        across=min(3, len(rows)),
    )
    path = look.save(figure, f"strongest_{census.layer}.png")
    return Picture(
        "The strongest filter",
        path,
        f"Tiles with the map of the strongest filter of {census.layer}.",
    )


def answers(
    trained: Trained,
    steps: Sequence[probes.Step],
    heard: dict[str, NDArray[Any]],
    chosen: list[int],
) -> list[Answers]:
    """Maps (F, h, w) of each step by the filter that made them.

    A further convolution has filters of its own, of which the largest are shown; where maps of
    several layers come together they are only numbered.
    """
    found: list[Answers] = []
    count = len(chosen)
    filters, word = len(heard[steps[0].layer]), "filter"
    for step in steps:
        maps = heard[step.layer]
        if step.role == "convolution":
            filters, word = len(maps), "filter"
            if found:
                weights = probes.filters(trained.bundle.network, step.layer)
                chosen = probes.strongest(weights, count)
        elif len(maps) != filters:
            filters, word, chosen = len(maps), "channel", list(range(min(count, len(maps))))
        columns = [f"{word} {index}" for index in chosen]
        heading = [step.role, step.layer, *(f"behind {norm}" for norm in step.norms)]
        found.append(Answers("\n".join(heading), columns, maps[chosen]))
    return found
