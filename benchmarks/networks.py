"""``python -m benchmarks.networks``: every model of conf/model side by side, measured the same way.

Each is trained on the sample (one seed) and on ``eurosat-as-sat6.mat`` (three seeds) with the
default training, in a folder of its own. What came of it goes to benchmarks/networks.json, into the
header of each model's file and into the table of the README. A model whose parameters are those of
its last measurement is not measured again, unless ``--again`` is given. ``--work`` names a folder
that stays, so that a run that was broken off goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from torch import nn

from benchmarks.table import ROOT, filled, machine
from pipeline.analysis import describe
from pipeline.composites import Chain, Dense, Parallel, Residual
from pipeline.config import compose
from pipeline.console import say
from pipeline.network import build
from pipeline.types import Bands, Classes

MODELS = ROOT / "conf" / "model"
RESULTS = ROOT / "benchmarks" / "networks.json"
README = ROOT / "README.md"
MARK = "networks: written by python -m benchmarks.networks"
HEADER = "# Measured by `python -m benchmarks.networks`:"
BANDS = Bands(("red", "green", "blue", "nir"))
CLASSES = Classes(("building", "barren_land", "trees", "grassland", "road", "water"))
TILE = 28
SEEDS = {"sample": (0,), "eurosat": (0, 1, 2)}
DECIDING = (
    "sample", "tiles", "split", "model", "init", "augment", "optimizer", "schedule", "loss",
    "train",
)  # fmt: skip
TIMED = ["train.epochs=4", "train.min_steps=0"]  # the first epoch warms up


@dataclass(frozen=True)
class Measured:
    """What is known of a model."""

    key: str  # digest of everything that the measurement depends on
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


def depth(module: nn.Module) -> int:
    """Layers with weights on the longest way through a network."""
    inside = {name: depth(layer) for name, layer in module.named_children()}
    if isinstance(module, Parallel):
        return max(inside.values())
    if isinstance(module, Residual):
        projection = inside.pop("projection", 0)
        return max(projection, sum(inside.values()))
    if isinstance(module, Chain | Dense):
        return sum(inside.values())
    return int(isinstance(module, nn.Conv2d | nn.Linear))


class Workplace:
    """Folders in which the stages run, one a data set, and one a training below it."""

    def __init__(self, root: Path, data: Path, threads: int) -> None:
        self.root = root
        self.threads = threads
        self.sources = {
            "sample": [],
            "eurosat": ["source=sat", f"source.path={data / 'sat' / 'eurosat-as-sat6.mat'}"],
        }

    def run(self, place: Path, *arguments: str) -> str:
        """Output of one command of the pipeline in a folder."""
        place.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(self.threads)}
        done = subprocess.run(
            [sys.executable, "-m", "pipeline", *arguments],
            cwd=place, env=environment, text=True, capture_output=True,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)} in {place}: {done.stderr.strip()}")
        return done.stdout

    def prepare(self) -> None:
        """Make both tile stores."""
        for name, source in self.sources.items():
            place = self.root / name
            if (place / "data" / "tiles" / "meta.json").exists():
                continue
            self.run(place, "compose", "tracking=none", *source)
            for stage in (["sample"] if name == "sample" else []) + ["ingest"]:
                self.run(place, stage)

    def folder(self, data: str, model: str, *overrides: str) -> Path:
        """Where a training runs; it sees the tiles of its data set."""
        name = "-".join([model, *(re.sub(r"\W", "", o) for o in overrides)])
        place = self.root / data / "trained" / name
        if not (place / "data").exists():
            place.mkdir(parents=True, exist_ok=True)
            (place / "data").symlink_to(self.root / data / "data")
        return place

    def train(self, data: str, model: str, *overrides: str) -> str:
        """Train, and give back what was printed."""
        place = self.folder(data, model, *overrides)
        options = [f"model={model}", "tracking=none", f"engine.threads={self.threads}"]
        self.run(place, "compose", *options, *self.sources[data], *overrides)
        return self.run(place, "train")

    def accuracy(self, data: str, model: str, seed: int) -> float:
        """Accuracy on the test tiles; of an autoencoder the share of variance that it explains."""
        place, report = self.folder(data, model, f"train.seed={seed}"), "reports/metrics.json"
        done = place / f"{key(model)}.json"
        if not done.exists():
            self.train(data, model, f"train.seed={seed}")
            self.run(place, "evaluate")
            (place / report).rename(done)
        measures = json.loads(done.read_text(encoding="utf-8"))
        say(f"{model} on {data}, seed {seed}: {measures.get('accuracy', measures.get('r2')):.4f}")
        return float(measures.get("accuracy", measures.get("r2")))

    def seconds(self, model: str) -> float:
        """Median time of an epoch on the sample, after the first."""
        printed = self.train("sample", model, *TIMED)
        times = [float(found) for found in re.findall(r"^epoch .*\(([\d.]+) s\)$", printed, re.M)]
        return statistics.median(times[1:])


def measure(
    models: Sequence[str], data: Path, folder: Path, jobs: int
) -> Iterator[tuple[str, Measured]]:
    """Train what is to be measured, some at a time, then time each alone."""
    place = Workplace(folder, data, threads=1)
    place.prepare()
    store = json.loads((folder / "sample/data/tiles/meta.json").read_text(encoding="utf-8"))
    tiles = sum(store["counts"]["train"].values())
    todo = [(name, model, seed) for model in models for name in SEEDS for seed in SEEDS[name]]
    with ThreadPoolExecutor(jobs) as pool:
        scores = dict(zip(todo, pool.map(lambda job: place.accuracy(*job), todo), strict=True))
    alone = Workplace(folder, data, threads=os.cpu_count() or 1)
    for model in models:
        made = network(model)
        layers = describe(made)
        yield (
            model,
            Measured(
                key=key(model),
                depth=depth(made),
                parameters=sum(layer.parameters for layer in layers),
                macs=sum(layer.macs for layer in layers),
                seconds=alone.seconds(model),
                tiles=tiles,
                **{name: [scores[name, model, s] for s in seeds] for name, seeds in SEEDS.items()},
            ),
        )


def composed(model: str) -> dict[str, Any]:
    """All parameters with this model."""
    params: dict[str, Any] = yaml.safe_load(compose([f"model={model}"]))
    return params


def model_section(model: str) -> dict[str, Any]:
    """The composed ``model`` section."""
    section: dict[str, Any] = composed(model)["model"]
    return section


def network(model: str) -> Any:
    """The network for the sample's tiles."""
    section = model_section(model)
    task = section.get("task", "classify")
    return build(section["layers"], bands=BANDS, classes=CLASSES, tile_size=TILE, task=task)


def key(model: str) -> str:
    """Digest of the parameters that a result depends on; null is as if there were no such key."""
    params = composed(model)
    given = {name: _without_nulls(params[name]) for name in DECIDING}
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]


def _without_nulls(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        name: _without_nulls(inner) for name, inner in value.items() if inner not in (None, {}, [])
    }


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


def header(result: Measured, task: str) -> Iterator[str]:
    """Lines of comment for a model's file."""
    what = "accuracy" if task == "classify" else "variance explained"
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
        if model_section(name).get("task", "classify") != "classify":
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
        task = model_section(name).get("task", "classify")
        lines = header(result, task)
        path.write_text(with_header(path.read_text(encoding="utf-8"), lines), encoding="utf-8")
    README.write_text(
        filled(README.read_text(encoding="utf-8"), MARK, table(results)), encoding="utf-8"
    )


def main() -> None:
    """Measure what changed and write everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks", description=__doc__)
    default = os.environ.get("QUADBAND_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the real imagery")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="trainings at once")
    parser.add_argument("--work", type=Path, help="a folder that stays, to go on after a break")
    parser.add_argument("--again", action="store_true", help="measure what did not change too")
    parser.add_argument("models", nargs="*", help="of conf/model; all if none is named")
    arguments = parser.parse_args()
    results = saved()
    wanted = arguments.models or sorted(path.stem for path in MODELS.glob("*.yaml"))
    todo = [
        model
        for model in wanted
        if arguments.again or model not in results or results[model].key != key(model)
    ]
    say(f"To measure: {', '.join(todo) or 'nothing, all is as it was'}.")
    with TemporaryDirectory() as temporary:
        folder = (arguments.work or Path(temporary)).resolve()
        found = measure(todo, arguments.data.resolve(), folder, arguments.jobs) if todo else ()
        for model, result in found:
            results[model] = result
            save(results)
    write(results)


if __name__ == "__main__":
    main()
