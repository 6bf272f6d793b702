"""``python -m benchmarks.ensembles``: what votes and views bring, over a single network.

On ``eurosat-as-sat6.mat`` and its official test tiles, which no training sees: the default network,
and the members of experiment=ensemble, one by one and by each vote, each looking at a tile once and
in eight ways. Three seeds draw the weights and the batches. The table goes to
benchmarks/ENSEMBLES.md. Everything happens in a folder that is removed afterwards, or stays in
``--keep``, where a second command goes on.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import io
import json
import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import yaml

from benchmarks.table import ROOT, machine
from pipeline.config import compose, validate
from pipeline.console import say
from pipeline.voting import VOTES

RESULT = Path(__file__).with_name("ENSEMBLES.md")
SEEDS = (0, 1, 2)
VIEWS = {"none": "a tile once", "symmetries": "a tile in eight ways"}
WHERE = ["tracking=none", "trainer=cpu", "engine.threads=1", "engine.precision=32"]
ROWS = ("single", "members", *VOTES)

Accuracies = dict[str, float]  # of a seed: row/views -> accuracy on the test tiles


@dataclass(frozen=True)
class Study:
    """The trainings, in folders of their own."""

    data: Path
    root: Path

    def run(self, folder: str, stage: str, *overrides: str) -> None:
        """One stage of the pipeline in a folder; its output goes to a file there."""
        where = [*WHERE, "source=sat", f"source.path={self.data}"]
        params = validate(yaml.safe_load(compose([*where, *overrides])))
        run = importlib.import_module(f"pipeline.stages.{stage}").run
        wanted = [name for name in inspect.signature(run).parameters if hasattr(params, name)]
        place = self.root / folder
        place.mkdir(exist_ok=True)
        if stage != "ingest" and not (place / "data").exists():
            (place / "data").symlink_to(self.root / "tiles" / "data")
        output = io.StringIO()
        with chdir(place), redirect_stdout(output):
            run(**{name: getattr(params, name) for name in wanted})
        (place / f"{stage}.log").write_text(output.getvalue(), encoding="utf-8")

    def measured(self, folder: str, *overrides: str) -> dict[str, dict[str, Any]]:
        """Train if that has not been done, and measure: views -> ``metrics.json``."""
        if not (self.root / folder / "models" / "model.json").is_file():
            self.run(folder, "train", *overrides)
        found = {}
        for views in VIEWS:
            self.run(folder, "evaluate", *overrides, f"evaluate.tta={views}")
            path = self.root / folder / "reports" / "metrics.json"
            found[views] = json.loads(path.read_text(encoding="utf-8"))
        return found

    def accuracies(self, seed: int) -> Accuracies:
        """Those of the default network, and of the members and votes of experiment=ensemble."""
        single = self.measured(f"single-{seed}", f"train.seed={seed}")
        voted = self.measured(f"ensemble-{seed}", "experiment=ensemble", f"train.seed={seed}")
        found = {f"single/{views}": float(single[views]["accuracy"]) for views in VIEWS}
        for views in VIEWS:
            ensemble = voted[views]["ensemble"]
            found[f"members/{views}"] = float(ensemble["mean"]["accuracy"])
            found |= {f"{v}/{views}": float(ensemble["votes"][v]["accuracy"]) for v in VOTES}
        told = ", ".join(f"{key} {value:.3f}" for key, value in found.items())
        say(f"Seed {seed}: {told}.")
        return found


def row(name: str, seeds: Sequence[Accuracies]) -> str:
    """A line of the table: each way to look, its seeds, mean and deviation."""
    told = {"single": "default network", "members": "mean of the members"}
    cells = [told.get(name, f"{name} vote")]
    for views in VIEWS:
        each = [100 * found[f"{name}/{views}"] for found in seeds]
        spread = f" ± {statistics.stdev(each):.1f}" if len(each) > 1 else ""
        cells.append(f"{statistics.mean(each):.1f} %{spread}")
        cells.append(", ".join(f"{value:.1f}" for value in each))
    return f"| {' | '.join(cells)} |"


def recipe() -> str:
    """What experiment=ensemble is, in words, from its composition."""
    content: Mapping[str, Any] = yaml.safe_load(compose(["experiment=ensemble"]))
    train = validate(content).train
    models = ", ".join(train.member_models) or str(content["model"]["name"])
    return f"{train.count} members ({models}), at least {train.min_steps:,} steps each"


def text(seeds: Sequence[Accuracies], minutes: float) -> str:
    """The page."""
    lines = [
        "# Ensembles: what votes and views bring",
        "",
        "Written by `python -m benchmarks.ensembles`. The default network, and the members of "
        f"`experiment=ensemble`, {recipe()}, trained on the official training tiles of "
        "`eurosat-as-sat6.mat`, a tenth of which choose the epoch. Accuracy on the 180 official "
        "test tiles, of which one is 0.6 points: mean, deviation and each of "
        f"{len(seeds)} seeds. The recipe was chosen without them.",
        "",
        f"| | {' | | '.join(VIEWS.values())} | |",
        f"|---|{'---:|---|' * len(VIEWS)}",
        *(row(name, seeds) for name in ROWS),
        "",
        f"Command: `OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python -m "
        f"benchmarks.ensembles`, {minutes:.0f} minutes. Machine: {machine()}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the study and write what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ensembles", description=__doc__)
    default = os.environ.get("QUADBAND_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the real imagery")
    parser.add_argument("--keep", type=Path, help="a folder for the trainings, to go on from")
    arguments = parser.parse_args()
    tiles = (arguments.data / "sat" / "eurosat-as-sat6.mat").resolve()
    if not tiles.is_file():
        raise SystemExit(f"Expected tiles in {tiles}, got no file; set --data or QUADBAND_DATA.")
    began = perf_counter()
    with ExitStack() as stack:
        folder = arguments.keep or stack.enter_context(TemporaryDirectory())
        study = Study(tiles, Path(folder).resolve())
        study.root.mkdir(parents=True, exist_ok=True)
        if not (study.root / "tiles" / "data" / "tiles" / "meta.json").is_file():
            study.run("tiles", "ingest")
        seeds = [study.accuracies(seed) for seed in SEEDS]
    RESULT.write_text(text(seeds, (perf_counter() - began) / 60), encoding="utf-8")
    say(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
