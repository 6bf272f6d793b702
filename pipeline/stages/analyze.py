"""What the network does to a tile, before anything is trained: ``reports/network/``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.analysis import LayerInfo, describe
from pipeline.console import say, table
from pipeline.network import build
from pipeline.selection import freeze
from pipeline.spec import offline
from pipeline.store import Store

if TYPE_CHECKING:
    from pipeline.schema import AnalyzeSection, InitSection, ModelSection, TrainSection

REPORTS = Path("reports/network")
BYTES = 4  # of a float32
HEADINGS = ("layer", "type", "output", "weights", "parameters", "MACs", "sees", "stride")


def run(
    analyze: AnalyzeSection, model: ModelSection, init: InitSection, train: TrainSection
) -> None:
    """Build the network for the store's tiles and report every layer of it."""
    store = Store.open()
    network = build(
        offline(model.layers),  # what a layer does does not hang on its weights
        bands=store.bands,
        classes=store.classes,
        tile_size=store.tile_size,
        mean=store.mean.tolist(),
        std=store.std.tolist(),
        init=init,
        task=model.task,
    )
    freeze(network, train.freeze)
    layers = describe(network, resolution=store.resolution)
    facts = {
        "name": model.name,
        "input": [len(store.bands), store.tile_size, store.tile_size],
        "bands": list(store.bands),
        "classes": list(store.classes),
        "totals": totals(layers, analyze.batch_size),
        "layers": [asdict(layer) for layer in layers],
    }
    REPORTS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(facts, indent=2) + "\n"
    (REPORTS / "network.json").write_text(text, encoding="utf-8")
    (REPORTS / "network.md").write_text(markdown(facts, layers), encoding="utf-8")
    show(facts, layers)


def totals(layers: Sequence[LayerInfo], batch_size: int) -> dict[str, int]:
    """Sums over layers.

    Training keeps each layer's output until its gradient is known, so the memory that a batch
    takes is that of all outputs, and as much again for their gradients at most.
    """
    outputs = sum(_count(layer.output) for layer in layers)
    parameters = sum(layer.parameters for layer in layers)
    return {
        "parameters": parameters,
        "learnable": sum(layer.learnable for layer in layers),
        "parameter_bytes": parameters * BYTES,
        "macs": sum(layer.macs for layer in layers),
        "batch_size": batch_size,
        "activation_bytes": outputs * BYTES * batch_size,
    }


def rows(layers: Sequence[LayerInfo]) -> list[tuple[str, ...]]:
    """A line of text a layer, in the order of ``HEADINGS``."""
    return [
        (
            layer.name,
            layer.type,
            _sizes(layer.output),
            ", ".join(_sizes(shape) for shape in layer.weights.values()),
            f"{layer.parameters:,}",
            f"{layer.macs:,}",
            _field(layer),
            f"{layer.stride} px",
        )
        for layer in layers
    ]


def summary(facts: dict[str, Any]) -> str:
    """One sentence on cost."""
    total = facts["totals"]
    frozen = total["parameters"] - total["learnable"]
    learning = f", {frozen:,} of them frozen" if frozen else ""
    return (
        f"{facts['name']}: {total['parameters']:,} parameters{learning} "
        f"({_mebibytes(total['parameter_bytes'])}), {total['macs'] / 1e6:,.1f} million "
        f"multiply-accumulates a tile, {_mebibytes(total['activation_bytes'])} of activations for "
        f"a batch of {total['batch_size']}."
    )


def markdown(facts: dict[str, Any], layers: Sequence[LayerInfo]) -> str:
    """The table as Markdown."""
    lines = [f"# {facts['name']}", "", f"Input {_sizes(facts['input'])}. {summary(facts)}", ""]
    lines += [_row(HEADINGS), _row(["---"] * 4 + ["---:"] * 4)]
    lines += [_row(row) for row in rows(layers)]
    return "\n".join(lines) + "\n"


def show(facts: dict[str, Any], layers: Sequence[LayerInfo]) -> None:
    """The table on the terminal."""
    from rich.table import Table

    shown = Table(title=f"{facts['name']}, input {_sizes(facts['input'])}")
    for place, heading in enumerate(HEADINGS):
        shown.add_column(heading, justify="right" if place > 3 else "left")
    for row in rows(layers):
        shown.add_row(*row)
    table(shown)
    say(summary(facts))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _count(shape: Sequence[int]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product


def _sizes(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _field(layer: LayerInfo) -> str:
    pixels = f"{layer.field} px"
    return pixels if layer.field_metres is None else f"{pixels}, {layer.field_metres:g} m"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.2f} MiB"
