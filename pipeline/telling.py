"""What ``evaluate`` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipeline import assessment, ballots, breakdown, console, metrics
from pipeline.breakdown import Row
from pipeline.metrics import Counts
from pipeline.types import Classes

if TYPE_CHECKING:
    from rich.table import Table


def reconstructed(summary: dict[str, Any]) -> None:
    """Print the measures, band by band."""
    from rich.table import Table

    out = Table("band")
    keys = ("mse", "rmse", "r2", "psnr")
    for key in keys:
        out.add_column(key, justify="right")
    for name, values in summary["per_band"].items():
        out.add_row(name, *(_shown(values[key]) for key in keys))
    console.table(out)
    console.say(
        f"Mean squared error {_shown(summary['mse'])} of normalized pixels on {summary['n']:,} "
        f"tiles, share of variance drawn again {_shown(summary['r2'])}, peak signal-to-noise ratio "
        f"{_shown(summary['psnr'])} dB."
    )


def voted(found: dict[str, Any]) -> None:
    """Print each member, each vote, and how members differ."""
    from rich.table import Table

    headings = ("validation", "accuracy", "balanced", "macro F1", "nll", "ece", "temperature")
    out = Table("member or vote")
    for heading in headings:
        out.add_column(heading, justify="right")
    for name, row in ballots.rows(found).items():
        out.add_row(name, *(_shown(row.get(key)) for key in ballots.COLUMNS))
    console.table(out)
    for sentence in ballots.sentences(found):
        console.say(sentence)


def classified(summary: dict[str, Any], counts: Counts, classes: Classes, rows: list[Row]) -> None:
    """Print the measures, the classes, the weakest of them and the worst place."""
    console.table(table(summary))
    console.say(
        f"Accuracy {summary['accuracy']:.4f} ({_interval(summary)}) on "
        f"{summary['n']:,} tiles, balanced "
        f"{summary['balanced_accuracy']:.4f}, macro F1 {summary['macro_f1']:.4f}, "
        f"kappa {_shown(summary['kappa'])}."
    )
    scaled = f"the temperature of {summary['temperature']:g}"
    before = f"; without {scaled}, {summary['before_scaling']['ece']:.4f}."
    without = ", with no temperature to its probabilities."
    told = without if summary["temperature"] == 1 else before
    console.say(f"Calibration error {summary['ece']:.4f}{told}")
    if left_out := summary.get("left_out"):
        told = ", ".join(f"{tiles:,} of {name}" for name, tiles in left_out.items())
        console.warn(f"The network does not know all classes; tiles left out: {told}.")
    if empty := [
        name for name, tiles in zip(classes, counts.sum(axis=1), strict=True) if not tiles
    ]:
        console.say(f"No tiles of {', '.join(empty)}: left out of the means.")
    console.say(metrics.weakest(counts, classes).sentence())
    if rows:
        console.say(breakdown.worst(rows))
    if reject := summary.get("reject"):
        console.say(assessment.told(reject))
    if areas := summary.get("areas"):
        console.table(of_areas(areas))


def of_areas(found: dict[str, Any]) -> Table:
    """Mapped and estimated areas as a table for the terminal, in the unit that they came in."""
    from rich.table import Table

    out = Table("class")
    for heading in ("mapped", "estimated", "standard error", "95% interval"):
        out.add_column(heading, justify="right")
    for name, row in found["per_class"].items():
        ends = row["area_ci95"]
        cells = [_amount(row[key]) for key in ("mapped", "area", "area_error")]
        out.add_row(name, *cells, " to ".join(map(_amount, ends)) if ends else _amount(None))
    return out


def _amount(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:,.6g}"


def _interval(summary: dict[str, Any]) -> str:
    """The interval of the accuracy in words, and what it is over."""
    drawn, ends = summary["interval"], summary["accuracy_ci95"]
    over = "" if drawn["over"] == "tiles" else f", over {drawn['places']:,} {drawn['over']}"
    if ends is None:
        return f"no interval: too few {drawn['over']}, or none that differs"
    return f"95% interval {ends[0]:.4f} to {ends[1]:.4f}{over}"


def _shown(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.4f}"


def table(summary: dict[str, Any]) -> Table:
    """The classes as a table for the terminal."""
    from rich.table import Table

    out = Table("class")
    for heading in ("recall", "precision", "F1", "tiles"):
        out.add_column(heading, justify="right")
    for name, values in summary["per_class"].items():
        shares = (_shown(values[key]) for key in ("recall", "precision", "f1"))
        out.add_row(name, *shares, f"{values['support']:,}")
    return out
