"""What was measured of each model: kept as JSON, told in the models' files and in the README."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from benchmarks.table import ROOT, filled, machine

MODELS = ROOT / "conf" / "model"
RESULTS = ROOT / "benchmarks" / "networks.json"
README = ROOT / "README.md"
MARK = "networks: written by python -m benchmarks.networks"
HEADER = "# Measured by `python -m benchmarks.networks`:"


@dataclass(frozen=True)
class Measured:
    """What is known of a model."""

    key: str  # digest of everything that the measurement depends on
    task: str  # classify or reconstruct
    depth: int  # layers with weights on the longest way through
    parameters: int
    macs: int  # multiply-accumulates a tile
    seconds: float  # an epoch of the sample
    tiles: int  # in that epoch
    sample: list[float]  # accuracy by seed
    eurosat: list[float]

    @property
    def cost(self) -> str:
        """Size and time in words."""
        return (
            f"{self.parameters:,} parameters, {self.macs / 1e6:.1f} million multiply-accumulates a "
            f"tile, {self.seconds:.1f} s an epoch of {self.tiles:,} tiles"
        )


def saved() -> dict[str, Measured]:
    """Results of earlier runs."""
    if not RESULTS.is_file():
        return {}
    content = json.loads(RESULTS.read_text(encoding="utf-8"))["models"]
    return {name: Measured(**values) for name, values in content.items()}


def save(results: dict[str, Measured]) -> None:
    """Write the results as JSON."""
    models = {name: asdict(results[name]) for name in sorted(results)}
    text = json.dumps({"machine": machine(), "models": models}, indent=1)
    RESULTS.write_text(text + "\n", encoding="utf-8")


def percent(values: Sequence[float]) -> str:
    """Mean in percent, and the deviation over seeds if there are several."""
    mean = f"{100 * statistics.mean(values):.1f} %"
    if len(values) == 1:
        return mean
    return f"{mean} ± {100 * statistics.stdev(values):.1f}"


def header(result: Measured) -> Iterator[str]:
    """Lines of comment for a model's file."""
    what = "accuracy" if result.task == "classify" else "variance explained"
    yield HEADER
    yield f"# {result.cost};"
    yield (
        f"# {what} {percent(result.sample)} on the sample, {percent(result.eurosat)} on "
        f"eurosat-as-sat6.mat (mean of {len(result.eurosat)} seeds)."
    )


def with_header(text: str, lines: Iterator[str]) -> str:
    """A model's file with its measurements above its name, in place of older ones."""
    kept = re.sub(rf"{re.escape(HEADER)}\n(?:#.*\n)*", "", text)
    return re.sub(r"^name:", "\n".join(lines) + "\nname:", kept, count=1, flags=re.M)


def table(results: dict[str, Measured]) -> str:
    """The networks side by side in Markdown, the cheapest first."""
    rows = [
        "| model | layers with weights | parameters | MACs a tile | epoch | sample | EuroSAT |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, result in sorted(results.items(), key=lambda item: item[1].macs):
        if result.task != "classify":
            continue
        rows.append(
            f"| `{name}` | {result.depth} | {result.parameters:,} | {result.macs / 1e6:.1f} M "
            f"| {result.seconds:.1f} s | {percent(result.sample)} | {percent(result.eurosat)} |"
        )
    return "\n".join([*rows, "", f"Measured on {machine()}."])


def write(results: dict[str, Measured]) -> None:
    """Put the results into the models' files and into the README."""
    for name, result in results.items():
        path = MODELS / f"{name}.yaml"
        text = with_header(path.read_text(encoding="utf-8"), header(result))
        path.write_text(text, encoding="utf-8")
    README.write_text(
        filled(README.read_text(encoding="utf-8"), MARK, table(results)), encoding="utf-8"
    )
