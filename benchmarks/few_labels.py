"""``python -m benchmarks.few_labels``: what an autoencoder's encoder brings where labels are few.

An autoencoder is trained on all training tiles of ``eurosat-as-sat6.mat``, whose labels it does not
see. Then model=encoder is trained on 5, 10, 20 and 80 labelled tiles a class, once from scratch and
once from the autoencoder's encoder, with the same tiles, seed, steps and augmentation; three seeds
choose tiles and weights. Accuracy is that of the official test tiles, which no training sees. The
table goes to benchmarks/FEW_LABELS.md. Everything happens in a folder that is removed afterwards.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import io
import json
import os
import statistics
from collections.abc import Sequence
from contextlib import chdir, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import yaml
from scipy import stats

from benchmarks.table import ROOT, machine
from pipeline.config import compose, validate
from pipeline.console import say

RESULT = Path(__file__).with_name("FEW_LABELS.md")
COUNTS = (5, 10, 20, 80)  # labelled training tiles of a class
SEEDS = (0, 1, 2)
# Of 90 official training tiles a class, 80 to learn from at most and 10 to choose the epoch by.
SPLIT = ["split.train=0.8888889", "split.validation=0.1111111"]
LABEL_STEPS = 600
TILE_STEPS = 1500
WHERE = ["tracking=none", "trainer=cpu", "engine.threads=1", "engine.precision=32"]
COMMON = [*WHERE, *SPLIT, "train.epochs=1"]


@dataclass(frozen=True)
class Pair:
    """Accuracies of the same tiles and seed."""

    scratch: float
    encoder: float

    @property
    def gain(self) -> float:
        """What the encoder brings, in points."""
        return 100 * (self.encoder - self.scratch)


class Study:
    """The trainings, in folders of their own."""

    def __init__(self, data: Path, root: Path) -> None:
        self.common = [*COMMON, "source=sat", f"source.path={data}"]
        self.root = root

    def run(self, folder: str, stage: str, *overrides: str) -> None:
        """One stage of the pipeline in a folder; its output is kept from the terminal."""
        params = validate(yaml.safe_load(compose([*self.common, *overrides])))
        run = importlib.import_module(f"pipeline.stages.{stage}").run
        wanted = [name for name in inspect.signature(run).parameters if hasattr(params, name)]
        (self.root / folder).mkdir(exist_ok=True)
        with chdir(self.root / folder), redirect_stdout(io.StringIO()):
            run(**{name: getattr(params, name) for name in wanted})

    def donor(self, seed: int) -> Path:
        """An autoencoder's bundle, trained without labels."""
        folder = f"donor-{seed}"
        self.run(folder, "ingest", f"split.seed={seed}", "source.labels=none")
        steps = [f"train.min_steps={TILE_STEPS}", f"train.seed={seed}"]
        self.run(folder, "train", "model=autoencoder", *steps)
        self.run(folder, "evaluate", "model=autoencoder")
        say(f"Autoencoder {seed}: {self._measures(folder)['r2']:.1%} of the variance drawn again.")
        return self.root / folder / "models"

    def pair(self, count: int, seed: int, donor: Path) -> Pair:
        """Train twice on so many tiles a class."""
        folder = f"labelled-{count}-{seed}"
        self.run(folder, "ingest", f"split.seed={seed}", f"split.train_per_class={count}")
        start = [f"train.init_from={donor}"]
        pair = Pair(self._accuracy(folder, seed), self._accuracy(folder, seed, *start))
        say(
            f"{count} tiles a class, seed {seed}: {pair.scratch:.1%} from scratch, "
            f"{pair.encoder:.1%} from the encoder."
        )
        return pair

    def _accuracy(self, folder: str, seed: int, *overrides: str) -> float:
        steps = [f"train.min_steps={LABEL_STEPS}", f"train.seed={seed}"]
        self.run(folder, "train", "model=encoder", *steps, *overrides)
        self.run(folder, "evaluate", "model=encoder")
        return self._measures(folder)["accuracy"]

    def _measures(self, folder: str) -> dict[str, float]:
        text = (self.root / folder / "reports" / "metrics.json").read_text(encoding="utf-8")
        measures: dict[str, float] = json.loads(text)
        return measures


def interval(gains: Sequence[float]) -> tuple[float, float]:
    """95 % interval of the mean of paired differences, by Student's t."""
    error = statistics.stdev(gains) / len(gains) ** 0.5
    half = float(stats.t.ppf(0.975, len(gains) - 1)) * error
    return statistics.mean(gains) - half, statistics.mean(gains) + half


def row(count: int, pairs: Sequence[Pair]) -> str:
    """A line of the table."""
    gains = [pair.gain for pair in pairs]
    low, high = interval(gains)
    return (
        f"| {count} | {_share([pair.scratch for pair in pairs])} "
        f"| {_share([pair.encoder for pair in pairs])} "
        f"| {statistics.mean(gains):+.1f} ± {statistics.stdev(gains):.1f} "
        f"| {', '.join(f'{gain:+.1f}' for gain in gains)} | {low:+.1f} to {high:+.1f} |"
    )


def _share(values: Sequence[float]) -> str:
    return f"{100 * statistics.mean(values):.1f} % ± {100 * statistics.stdev(values):.1f}"


def verdict(found: dict[int, list[Pair]]) -> str:
    """What the table says, in sentences."""
    every = [pair.gain for pairs in found.values() for pair in pairs]
    low, high = interval(every)
    whole = (
        f"Over all {len(every)} pairs the encoder brings {statistics.mean(every):+.1f} points "
        f"(95 % interval {low:+.1f} to {high:+.1f}, were the pairs independent)"
    )
    certain = [
        f"{statistics.mean(gains):+.1f} with {count} tiles a class"
        for count, gains in ((n, [pair.gain for pair in pairs]) for n, pairs in found.items())
        if interval(gains)[0] > 0 or interval(gains)[1] < 0
    ]
    if not low <= 0 <= high:
        end = "a gain that is more than chance" if low > 0 else "a loss that is more than chance"
    else:
        end = "nothing that could be told from chance"
    single = ", ".join(certain) or "none; three seeds show large differences alone"
    return f"{whole}: {end}. Numbers of tiles whose own interval leaves out 0: {single}."


def text(found: dict[int, list[Pair]], minutes: float) -> str:
    """The file."""
    lines = [
        "# Few labels: what pretraining without labels brings",
        "",
        "Written by `python -m benchmarks.few_labels`. An autoencoder (`model=autoencoder`, "
        f"{TILE_STEPS:,} steps) learns from the 540 training tiles of `eurosat-as-sat6.mat` "
        "without their labels, a ninth of which choose the epoch; a classifier (`model=encoder`) "
        "takes its encoder over (`train.init_from`) and learns from a few labelled tiles, all "
        f"layers at one rate, {LABEL_STEPS} steps. From scratch is the same training without the "
        "encoder: same tiles, seed, steps and augmentation. Ten tiles a class choose the epoch, in "
        "both. Accuracy on the 180 official test tiles, of which one is 0.6 points: mean and "
        "deviation over "
        f"{len(SEEDS)} seeds, each with its own tiles, weights and autoencoder.",
        "",
        "| labelled tiles a class | from scratch | from the encoder | paired difference, points "
        "| by seed | 95 % interval |",
        "|---:|---:|---:|---:|---|---|",
        *(row(count, pairs) for count, pairs in found.items()),
        "",
        verdict(found),
        "",
        f"Command: `OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', '')} python -m "
        f"benchmarks.few_labels`, {minutes:.0f} minutes. Machine: {machine()}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the study and write what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.few_labels", description=__doc__)
    default = os.environ.get("QUADBAND_DATA", ROOT.parent / "shared" / "data")
    parser.add_argument("--data", type=Path, default=Path(default), help="the real imagery")
    arguments = parser.parse_args()
    tiles = (arguments.data / "sat" / "eurosat-as-sat6.mat").resolve()
    if not tiles.is_file():
        raise SystemExit(f"Expected tiles in {tiles}, got no file; set --data or QUADBAND_DATA.")
    began = perf_counter()
    with TemporaryDirectory() as folder:
        study = Study(tiles, Path(folder))
        donors = {seed: study.donor(seed) for seed in SEEDS}
        found = {n: [study.pair(n, seed, donors[seed]) for seed in SEEDS] for n in COUNTS}
    RESULT.write_text(text(found, (perf_counter() - began) / 60), encoding="utf-8")
    say(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
