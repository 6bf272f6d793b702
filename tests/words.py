"""The words of a figure, and those that stand out of it."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.text import Text


def texts_of(figure: Figure) -> list[str]:
    """All that can be seen."""
    figure.draw_without_rendering()
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [artist.get_text() for artist in found if isinstance(artist, Text)]


def overflow(figure: Figure) -> list[str]:
    """Texts that stand out of the figure."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    out = []
    for artist in figure.findobj(Text):
        assert isinstance(artist, Text)
        if not (artist.get_text() and artist.get_visible()):
            continue
        box = artist.get_window_extent()
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            out.append(artist.get_text())
    return out
