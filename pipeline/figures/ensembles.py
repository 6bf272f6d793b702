"""Members of an ensemble and their votes: how well each does, and how pairs of members differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from pipeline.figures.canvas import FAINT, INK, sheet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Row = Mapping[str, Any]  # of ``ballots.measure``
VOTE, MEMBER = "#0b5394", "#8fa3b3"


def ensemble(found: Mapping[str, Any], over: str, chosen: str, title: str) -> Figure:
    """Accuracies with their 95 % intervals beside disagreement and Q of every pair.

    Args:
        found: As ``ballots.compare`` gives it.
        over: What the intervals are drawn over, in words.
        chosen: The vote that counts.
        title: Of the figure.
    """
    rows = {
        f"{name.removeprefix('member')}: {row['model']}": (row, MEMBER)
        for name, row in found["members"].items()
    }
    rows |= {f"{name} vote": (row, VOTE) for name, row in found["votes"].items()}
    count = len(found["members"])
    figure = sheet(
        10.5,
        2.4 + 0.34 * max(len(rows), 1.6 * count),
        title,
        f"Left: accuracy with its 95 % interval over {over}; the vote that counts is filled. "
        "Right, of each pair of members: above the diagonal the share of tiles that only one of "
        "them has right, below it Yule's Q, 1 if they err on the same tiles.",
    )
    left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
    _accuracies(left, rows, f"{chosen} vote")
    _pairs(right, found["diversity"]["pairs"], count)
    return figure


def _accuracies(axes: Axes, rows: Mapping[str, tuple[Row, str]], chosen: str) -> None:
    for place, (name, (row, colour)) in enumerate(rows.items()):
        share, ends = row["accuracy"], row["accuracy_ci95"] or ()
        axes.plot(ends, [place] * len(ends), color=colour, lw=2, solid_capstyle="round")
        fill = colour if name == chosen else "white"
        axes.plot([share], [place], "o", color=fill, mec=colour, mew=1.8, ms=8, clip_on=False)
        axes.annotate(
            f"{share:.1%}", (1.0, place), xycoords=("axes fraction", "data"), xytext=(6, 0),
            textcoords="offset points", va="center", fontsize=9, color=INK,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set(ylim=(len(rows) - 0.4, -0.6), xlabel="accuracy")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="x", color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _pairs(axes: Axes, pairs: Mapping[str, Mapping[str, float | None]], count: int) -> None:
    shown = np.full((count, count), np.nan)
    for name, pair in pairs.items():
        i, j = map(int, name.split("-"))
        q = pair["q"]
        shown[j, i] = np.nan if q is None else q
        axes.text(i, j, "\N{EN DASH}" if q is None else f"{q:.2f}", ha="center", va="center",
                  fontsize=9, color="white" if q is not None and abs(q) > 0.6 else INK)  # fmt: skip
        axes.text(j, i, f"{pair['disagreement'] or 0.0:.1%}", ha="center", va="center",
                  fontsize=9, color=INK)  # fmt: skip
    axes.imshow(shown, cmap="RdBu", vmin=-1, vmax=1)
    axes.set_xticks(range(count))
    axes.set_yticks(range(count))
    axes.set(xlabel="member", ylabel="member", xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    axes.tick_params(length=0, labelcolor=FAINT)
    axes.spines[:].set_visible(False)
