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
        console.say("The network has no convolution: no filters and activations to show.")
        text = "This network has no convolution, so there are no filters to look at."
        return [Section("filters", "Filters and activations", text)]
    found = census(look, layers)
    return [
        *filters.sections(look, found),
        *activations.sections(look, found),
        *excitement.sections(look, found),
    ]
