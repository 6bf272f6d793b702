"""What filters answer to the tiles, layer after layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import probes
from pipeline.figures import canvas, inside
from pipeline.figures.inside import Answers
from pipeline.looks import filters
from pipeline.looks.base import Look
from pipeline.report import Picture, Section
from pipeline.trained import Trained

TEXT = (
    "Tiles as some of the filters see them: after the convolution, then after the activation, and "
    "on to the first pooling if there is one. A further convolution on the way has filters of its "
    "own."
)


def draw(look: Look) -> list[Section]:
    """What the chosen filters answer to each tile."""
    layer = filters.layer_of(look.trained, look.settings)
    if layer is None:
        return []
    chosen = filters.chosen(look.trained, layer, look.settings.filters)
    pictures = of_tiles(look, layer, chosen)
    return [Section("activations", "What the filters answer", TEXT, pictures)]


def of_tiles(look: Look, layer: str, chosen: list[int]) -> list[Picture]:
    """What the chosen filters answer to each tile, layer after layer."""
    network, shown = look.trained.bundle.network, look.shown
    steps = probes.chain(network, layer)
    heard = probes.activations(network, shown.pixels, [step.layer for step in steps])
    look.save_arrays("activations", {"rows": np.array(shown.rows), **heard})
    stretch = canvas.Stretch.of(shown.pixels)
    looks = stretch.apply(shown.pixels)
    pictures = []
    for i, (row, name) in enumerate(zip(shown.rows, shown.names, strict=True)):
        views = {
            "natural colour": looks[i][..., list(look.bands.natural)],
            "false colour": looks[i][..., list(look.bands.false_colour)],
        }
        maps = {key: maps[i] for key, maps in heard.items()}
        stages = answers(look.trained, steps, maps, chosen)
        figure = inside.activations(views, stages, f"{name}: {shown.ids[i]}")
        path = look.save(figure, f"activations_{row}.png")
        alt = f"A tile of {name} and what filters of {layer} make of it."
        pictures.append(Picture(f"{name}: {shown.ids[i]}", path, alt, shown.colours[i]))
    return pictures


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
        found.append(Answers(f"{step.role}\n{step.layer}", columns, maps[chosen]))
    return found
