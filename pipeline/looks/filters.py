"""Filters of a convolution: what it looks for in each place of its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipeline import console, probes
from pipeline.errors import ConfigError
from pipeline.figures import inside
from pipeline.looks.base import Look
from pipeline.report import Picture, Section
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import VisualizeSection

FILTERS = 6  # whose activations are shown unless some are named


def check(trained: Trained, settings: VisualizeSection) -> None:
    """Refuse a layer that is no convolution, and filters that it lacks."""
    network = trained.bundle.network
    if settings.layer is not None:
        probes.convolution(network, settings.layer)
    if (layer := layer_of(trained, settings)) is not None:
        chosen(trained, layer, settings.filters)


def layer_of(trained: Trained, settings: VisualizeSection) -> str | None:
    """The convolution named in ``visualize.layer``, or the first; None where there is none."""
    return settings.layer or probes.first_convolution(trained.bundle.network)


def chosen(trained: Trained, layer: str, wanted: list[int] | None) -> list[int]:
    """The filters named in ``visualize.filters``, or those with the largest norm."""
    weights = probes.filters(trained.bundle.network, layer)
    if wanted is None:
        return probes.strongest(weights, FILTERS)
    if not wanted or not all(0 <= index < len(weights) for index in wanted):
        raise ConfigError(
            f"Expected filters of {layer} from 0 to {len(weights) - 1} in visualize.filters, "
            f"got {wanted}."
        )
    return wanted


def draw(look: Look) -> list[Section]:
    """Filters in false colour, if they see the bands themselves, and channel by channel."""
    layer = layer_of(look.trained, look.settings)
    if layer is None:
        console.say("The network has no convolution: no filters and activations to show.")
        text = "This network has no convolution, so there are no filters to look at."
        return [Section("filters", "Filters and activations", text)]
    text = "What the convolution looks for in each place of its input."
    return [Section("filters", f"Filters of {layer}", text, pictures(look, layer))]


def pictures(look: Look, layer: str) -> list[Picture]:
    """Filters in false colour, if they see the bands themselves, and channel by channel."""
    weights = probes.filters(look.trained.bundle.network, layer)
    look.save_arrays("filters", {layer: weights})
    first = layer == probes.first_convolution(look.trained.bundle.network)
    made = []
    if first and weights.shape[1] == len(look.bands):
        channels: Sequence[str] = look.bands.names
        figure = inside.filters_in_colour(weights, look.bands, layer)
        path = look.save(figure, "filters_colour.png")
        made.append(Picture("In false colour", path, f"Filters of {layer} as colour tiles."))
    else:
        channels = [str(i) for i in range(weights.shape[1])]
    figure = inside.filters_by_channel(weights, channels, layer)
    alt = f"Weights of the filters of {layer}, one panel for each input channel."
    return [*made, Picture("Channel by channel", look.save(figure, "filters_channels.png"), alt)]
