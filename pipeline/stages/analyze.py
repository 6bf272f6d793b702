"""What the network does to a tile, before anything is trained: ``reports/network/``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import console, plain, tables
from pipeline.analysis import describe, kept_bytes
from pipeline.diagram import arrange, draw
from pipeline.errors import NetworkError
from pipeline.faults import Finding, inspect
from pipeline.network import Network, build
from pipeline.selection import freeze
from pipeline.spec import offline
from pipeline.store import Store
from pipeline.tables import Table, markdown, summary, totals
from pipeline.wording import sizes

if TYPE_CHECKING:
    from pipeline.schema import AnalyzeSection, InitSection, ModelSection, TrainSection

REPORTS = Path("reports/network")


def run(
    analyze: AnalyzeSection, model: ModelSection, init: InitSection, train: TrainSection
) -> None:
    """Build the network for the store's tiles and report every layer of it.

    Of an ensemble that is the first member; of the others what they cost together.

    Raises:
        NetworkError: The network can't be built, or ``analyze.strict`` forbids what was found.
    """
    store = Store.open()
    mean, std = store.mean.tolist(), store.std.tolist()
    models = train.models(model)
    networks = {id(one): built(one, init, train, store) for one in models}  # each kind once
    model, network = models[0], networks[id(models[0])]
    layers = describe(network, resolution=store.resolution, composites=True)
    findings = inspect(network, mean=mean, std=std, strict=analyze.strict)
    shown = tables.table(layers)
    facts = {
        "name": model.name,
        "input": list(network.input_shape),
        "bands": list(store.bands),
        "classes": list(store.classes),
        "totals": totals(layers, kept_bytes(network), analyze.batch_size),
        "findings": [asdict(finding) for finding in findings],
        "layers": [asdict(layer) for layer in layers],
        "table": shown._asdict(),
    }
    if len(models) > 1:
        facts["ensemble"] = together([networks[id(one)] for one in models], models)
    write(network, facts, shown, findings)
    show(facts, shown, findings)
    refuse(findings)


def built(model: ModelSection, init: InitSection, train: TrainSection, store: Store) -> Network:
    """A network as it will be trained."""
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
    return network


def together(networks: Sequence[Network], models: Sequence[ModelSection]) -> str:
    """A sentence on what the members of an ensemble cost together."""
    each = [totals(describe(network), 0, 1) for network in networks]
    parameters, macs = (sum(one[key] for one in each) for key in ("parameters", "macs"))
    return (
        f"It is the first of {len(models)} members that vote: "
        f"{', '.join(one.name for one in models)}. Together they have {parameters:,} parameters "
        f"and take {macs / 1e6:,.1f} million multiply-accumulates a tile."
    )


def write(
    network: Network, facts: dict[str, Any], shown: Table, findings: Sequence[Finding]
) -> None:
    """The files of the stage."""
    sentences = summary(facts)
    files = {
        "network.json": json.dumps(facts, indent=2, ensure_ascii=False) + "\n",
        "network.md": page(facts, shown, findings),
        "network.svg": draw(arrange(network), f"The network {facts['name']}", " ".join(sentences)),
        "network.py": plain.source_of(network, facts["name"]),
    }
    REPORTS.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (REPORTS / name).write_text(text, encoding="utf-8")


def page(facts: dict[str, Any], shown: Table, findings: Sequence[Finding]) -> str:
    """All that was found, as Markdown."""
    parts = [
        f"# {facts['name']}",
        f"Input {sizes(facts['input'])}. {' '.join(summary(facts))}",
        "![The layers and how they are wired](network.svg)",
        markdown(shown),
    ]
    if findings:
        told = [f"- **{one.level}**, {one.sentence()}" for one in findings]
        parts += ["## What to look at", "\n".join(told)]
    return "\n\n".join(parts) + "\n"


def show(facts: dict[str, Any], shown: Table, findings: Sequence[Finding]) -> None:
    """The same on the terminal."""
    from rich import box, table

    title = f"{facts['name']}, input {sizes(facts['input'])}"
    content = table.Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    columns = zip(*shown.rows, strict=True)
    for heading, right, cells in zip(shown.headings, shown.right, columns, strict=True):
        content.add_column(
            heading.replace(", ", "\n"),  # the unit below, so that a line holds all columns
            justify="right" if right else "left",
            no_wrap=True,
            min_width=max(map(len, (*heading.split(", "), *cells))),
        )
    for row in shown.rows:
        content.add_row(*row)
    console.table(content)
    for sentence in summary(facts):
        console.say(sentence)
    for finding in findings:
        if finding.level == "warning":
            console.warn(finding.sentence())
        elif finding.level == "note":
            console.say(f"note: {finding.sentence()}")


def refuse(findings: Sequence[Finding]) -> None:
    """Stop at an error; the reports are written by now.

    Raises:
        NetworkError: There is one; tells the first and counts the others.
    """
    errors = [finding for finding in findings if finding.level == "error"]
    if errors:
        text = errors[0].sentence()
        more = f" {len(errors) - 1} more are in {REPORTS}." if len(errors) > 1 else ""
        raise NetworkError(f"{text[0].upper()}{text[1:]}{more}")
