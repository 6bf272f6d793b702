"""The layer table: one set of rows for the terminal, for Markdown and for the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipeline.analysis import LayerInfo
from pipeline.wording import sizes, told

BYTES = 4  # of a float32
MOMENTS = 2  # numbers that Adam keeps beside each weight
INDENT = "\u00a0\u00a0"  # a plain space would not survive in Markdown


class Column(NamedTuple):
    """A heading, and what stands below it for a layer."""

    heading: str
    cell: Callable[[LayerInfo], str]
    right: bool = True  # numbers are flush right


class Table(NamedTuple):
    """Text of a table; columns without any are left out."""

    headings: list[str]
    right: list[bool]
    rows: list[list[str]]


def table(layers: Sequence[LayerInfo]) -> Table:
    """A row a layer, those inside another indented.

    Sums over the layers inside a composite stand in brackets: they are in the rows below already.
    """
    frozen = any(layer.learnable < layer.parameters for layer in layers)
    columns = [
        Column("layer", _name, right=False),
        Column("type", _type, right=False),
        Column("output", lambda layer: sizes(layer.output)),
        Column("learnables", lambda layer: told(layer.learnables), right=False),
        Column("count", lambda layer: _sum(layer, layer.parameters)),
        Column("learning", lambda layer: _sum(layer, layer.learnable) if frozen else ""),
        Column("MACs", lambda layer: _sum(layer, layer.macs)),
        Column("sees, px", lambda layer: f"{layer.field:,}"),
        Column("sees, m", lambda layer: _metres(layer.field_metres)),
        Column("stride, px", lambda layer: f"{layer.stride:g}" if _is_map(layer) else ""),
        Column("stride, m", lambda layer: _metres(layer.stride_metres if _is_map(layer) else None)),
    ]
    rows = [[column.cell(layer) for column in columns] for layer in layers]
    kept = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    return Table(
        [columns[place].heading for place in kept],
        [columns[place].right for place in kept],
        [[row[place] for place in kept] for row in rows],
    )


def _name(layer: LayerInfo) -> str:
    above, _, own = layer.name.rpartition(".")
    return INDENT * (above.count(".") + bool(above)) + own


def _type(layer: LayerInfo) -> str:
    return f"{layer.type} {layer.settings}".rstrip()


def _sum(layer: LayerInfo, count: int) -> str:
    if not count:
        return ""
    return f"({count:,})" if layer.composite else f"{count:,}"


def _is_map(layer: LayerInfo) -> bool:
    return len(layer.output) > 1


def _metres(length: float | None) -> str:
    return "" if length is None else f"{length:g}"


def totals(layers: Sequence[LayerInfo], kept: int, batch_size: int) -> dict[str, int]:
    """Sums over layers, and the memory that training takes.

    Args:
        layers: With composites or without.
        kept: Bytes that training keeps a tile, see ``analysis.kept_bytes``.
        batch_size: Tiles.
    """
    single = [layer for layer in layers if not layer.composite]
    parameters = sum(layer.parameters for layer in single)
    learnable = sum(layer.learnable for layer in single)
    return {
        "layers": len(single),
        "parameters": parameters,
        "learnable": learnable,
        "parameter_bytes": parameters * BYTES,
        # A gradient and Adam's moments for each number that learns.
        "training_bytes": (parameters + (1 + MOMENTS) * learnable) * BYTES,
        "macs": sum(layer.macs for layer in single),
        "batch_size": batch_size,
        "activation_bytes": kept * batch_size,
    }


def summary(facts: dict[str, Any]) -> list[str]:
    """Sentences on cost."""
    total = facts["totals"]
    learn = "" if total["learnable"] == total["parameters"] else f", {total['learnable']:,} learn"
    return [
        f"{facts['name']}: {total['layers']} layers, {total['parameters']:,} parameters "
        f"({mebibytes(total['parameter_bytes'])}{learn}), {total['macs'] / 1e6:,.1f} million "
        "multiply-accumulates a tile.",
        f"Training in float32 keeps {mebibytes(total['activation_bytes'])} of activations for a "
        f"batch of {total['batch_size']}, and {mebibytes(total['training_bytes'])} of weights, "
        "gradients and Adam's two moments; beside these it needs room to compute in.",
        *([facts["ensemble"]] if "ensemble" in facts else []),
    ]


def markdown(content: Table) -> str:
    """The table as Markdown."""
    rule = ["---:" if right else "---" for right in content.right]
    return "\n".join(_line(cells) for cells in [content.headings, rule, *content.rows])


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def mebibytes(size: int) -> str:
    """Bytes in words."""
    return f"{size / 2**20:,.2f} MiB"
