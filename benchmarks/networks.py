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
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from torch import nn

from benchmarks.network_results import MODELS, Measured, save, saved, write
from benchmarks.table import ROOT
from pipeline.analysis import describe
from pipeline.composites import Chain, Dense, Parallel, Residual
from pipeline.config import compose, validate
from pipeline.console import say
from pipeline.network import Network, build
from pipeline.types import Bands, Classes

BANDS = Bands(("red", "green", "blue", "nir"))
CLASSES = Classes(("building", "barren_land", "trees", "grassland", "road", "water"))
TILE = 28
SEEDS = {"sample": (0,), "eurosat": (0, 1, 2)}
DECIDING = (
    "sample", "tiles", "split", "model", "init", "augment", "optimizer", "schedule", "loss",
    "train",
)  # fmt: skip
TIMED = ["train.epochs=4", "train.min_steps=0"]  # the first epoch warms up


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

    def accuracy(self, data: str, model: str, seed: int, known: str) -> float:
        """Accuracy on the test tiles; of an autoencoder the share of variance that it explains."""
        place, report = self.folder(data, model, f"train.seed={seed}"), "reports/metrics.json"
        done = place / f"{known}.json"
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
    # Hydra composes once a process at a time, hence here and not in the threads.
    keys = {model: key(model) for model in models}
    todo = [(name, model, seed) for model in models for name in SEEDS for seed in SEEDS[name]]

    def train(job: tuple[str, str, int]) -> float:
        name, model, seed = job
        return place.accuracy(name, model, seed, keys[model])

    with ThreadPoolExecutor(jobs) as pool:
        scores = dict(zip(todo, pool.map(train, todo), strict=True))
    alone = Workplace(folder, data, threads=os.cpu_count() or 1)
    for model in models:
        made = network(model)
        layers = describe(made)
        yield (
            model,
            Measured(
                key=keys[model],
                task=made.task,
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


def network(model: str) -> Network:
    """The network for the sample's tiles."""
    section = composed(model)["model"]
    task = section.get("task", "classify")
    return build(section["layers"], bands=BANDS, classes=CLASSES, tile_size=TILE, task=task)


def key(model: str) -> str:
    """Digest of the parameters that a result depends on.

    A default is as if there were no such key, so that a new option asks for no new measurement.
    """
    params = validate(composed(model))
    sections = {name: getattr(params, name) for name in DECIDING}
    given = {
        name: section.model_dump(mode="json", exclude_defaults=True, exclude={"donor"})
        for name, section in sections.items()
    }
    return hashlib.sha256(json.dumps(given, sort_keys=True).encode()).hexdigest()[:16]


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
    # timm is an optional extra, the encoder is the vgg under other names, and the speedrun and the
    # wide network of an ensemble have measurements of their own.
    left_out = {"timm", "encoder", "speedrun", "wide"}
    every = sorted({path.stem for path in MODELS.glob("*.yaml")} - left_out)
    wanted = arguments.models or every
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
