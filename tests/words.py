"""The words of a figure, and those that stand out of it."""

from __future__ import annotations

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text


def texts_of(figure: Figure) -> list[str]:
    """All that can be seen."""
    figure.draw_without_rendering()
    found = figure.findobj(lambda artist: isinstance(artist, Text) and artist.get_visible())
    return [artist.get_text() for artist in found if isinstance(artist, Text)]


def overlaps(figure: Figure) -> list[tuple[str, str]]:
    """Texts that stand over each other; slanted ones, whose boxes are larger, are left out."""
    figure.draw_without_rendering()
    shown = [
        (artist.get_text(), artist.get_window_extent())
        for artist in figure.findobj(Text)
        if isinstance(artist, Text)
        and artist.get_visible()
        and artist.get_text().strip()
        and not artist.get_text().endswith("\n")  # which keep room for a legend
        and artist.get_rotation() % 90 == 0
    ]
    out = []
    for (one, mine), (other, its) in combinations(shown, 2):
        wide = min(mine.x1, its.x1) - max(mine.x0, its.x0)
        high = min(mine.y1, its.y1) - max(mine.y0, its.y0)
        if wide > 1 and high > 1:
            out.append((one, other))
    return out


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
