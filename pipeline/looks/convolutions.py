"""Convolutions: their filters, what these answer, and what excites them."""

from __future__ import annotations

from pipeline import console
from pipeline.looks import activations, excitement, filters
from pipeline.looks.base import Look
from pipeline.looks.census import census
from pipeline.looks.layers import names
from pipeline.report import Section


def draw(look: Look) -> list[Section]:
    """Sections of every layer that is looked at; the test tiles pass once for all."""
    layers = names(look.trained, look.settings)
    if not layers:
        if look.settings.layers is None:
            why = "This network has no convolution, so there are no filters to look at."
        else:
            why = "No convolution was asked for (visualize.layers=[]), so none is looked at."
        console.say(why)
        return [Section("filters", "Filters and activations", why)]
    found = census(look, layers)
    return [
        *filters.sections(look, found),
        *activations.sections(look, found),
        *excitement.sections(look, found),
    ]
