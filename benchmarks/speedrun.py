"""``python -m benchmarks.speedrun``: the shortest training to 99 % of the default run's accuracy.

The record is ``experiment=speedrun``. Each of its techniques is undone in turn, all else being
equal: once with as many epochs as the record, and then with as many as it takes to reach the goal
again. The default training is measured at growing lengths, too. Every figure is a mean over seeds.
The table goes to benchmarks/SPEEDRUN.md.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml
from pytorch_lightning.loggers.logger import DummyLogger

from benchmarks.table import ROOT, machine
from pipeline.bundle import as_input
from pipeline.config import compose, validate
from pipeline.console import say
from pipeline.data import TileData
from pipeline.network import Network
from pipeline.order import steps
from pipeline.schema import Params
from pipeline.store import Store
from pipeline.tasks import trainer as trainers
from pipeline.tasks.fitting import Plan, prepare, task_of

RESULT = Path(__file__).with_name("SPEEDRUN.md")
METRICS = ROOT / "reports" / "metrics.json"
RECORD = ["experiment=speedrun"]
SHARE = 0.99  # of the default run's accuracy
SEEDS = 10
FIRST = 3  # seeds that tell whether the others are worth their time; all there are of the default
FAR = 0.01  # so much below the goal they are not
RUNGS = (1, 2, 3, 4, 6, 8, 12)  # epochs of the variants
LENGTHS = (12, 16, 20, 24)  # of the default


@dataclass(frozen=True)
class Variant:
    """The record with one thing undone.

    ``change`` rewrites the layers, where overrides can't.
    """

    name: str
    overrides: tuple[str, ...] = ()
    change: Callable[[dict[str, Any]], dict[str, Any]] | None = None

    def params(self) -> Params:
        """All parameters."""
        text = compose([*RECORD, "tracking=none", *self.overrides])
        params = validate(yaml.safe_load(text))
        if self.change is None:
            return params
        layers = self.change(params.model.layers)
        return params.model_copy(
            update={"model": params.model.model_copy(update={"layers": layers})}
        )


def pooled_last(layers: dict[str, Any]) -> dict[str, Any]:
    """Each pooling behind the norm and the activation that followed it."""
    names = list(layers)
    for name in [name for name in names if name.startswith("pool") and name != "pool"]:
        place = names.index(name)
        names[place : place + 3] = [*names[place + 1 : place + 3], name]
    return {name: layers[name] for name in names}


VARIANTS = (
    Variant(
        "first layer learned, not measured (whitening)",
        ("model.layers.whiten._target_=torch.nn.Conv2d", "+model.layers.whiten.bias=false"),
    ),
    Variant("the default network, `model=vgg`", ("model=vgg",)),
    Variant("pooling behind norm and activation", change=pooled_last),
    Variant("`schedule=one_cycle` up to 0.02", ("schedule=one_cycle", "optimizer.lr=0.02")),
    Variant("no average of weights", ("train.average=0",)),
    Variant("no label smoothing", ("loss.label_smoothing=0",)),
    Variant("half the rate", ("optimizer.lr=0.003",)),
    Variant(
        "batches of 32, as in the default run",
        ("train.batch_size=32", "optimizer.lr=0.004", "train.average=0.97"),
    ),
    Variant("SGD with Nesterov momentum", ("optimizer=momentum",)),
    Variant("the default augmentation, with brightness and noise", ("augment=default",)),
    Variant("flips and quarter turns, drawn", ("augment=flips",)),
    Variant("flips that alternate", ("augment.flips=alternate",)),
    Variant("float32", ("engine.precision=32",)),
)


class Trial(NamedTuple):
    """A training."""

    seconds: float
    accuracy: float  # on the test tiles
    beside: float | None = None  # seconds of the record right before


@dataclass(frozen=True)
class Score:
    """What trainings of one length came to, a seed each."""

    epochs: int
    trials: tuple[Trial, ...]

    @property
    def accuracy(self) -> float:
        """Mean."""
        return statistics.mean(trial.accuracy for trial in self.trials)

    @property
    def seconds(self) -> float:
        """Median: whatever else the machine does only adds."""
        return statistics.median(trial.seconds for trial in self.trials)

    @property
    def share(self) -> str:
        """Mean and deviation in words."""
        spread = statistics.stdev(trial.accuracy for trial in self.trials)
        return f"{100 * self.accuracy:.2f} % ± {100 * spread:.2f}"

    @property
    def times(self) -> str:
        """How many times as long as the record, pair by pair, in words."""
        pairs = [trial.seconds / trial.beside for trial in self.trials if trial.beside]
        return f"{statistics.median(pairs):.2f}"

    def sentence(self) -> str:
        """All of it."""
        return f"  {self.epochs} epochs: {self.share}, {self.seconds:.2f} s"


def train(params: Params, store: Store, seed: int) -> Trial:
    """Train once. Time runs from the opened store to the last step.

    So it counts building the network, measuring its first layer and bringing the tiles into
    memory; nothing is validated.
    """
    began = perf_counter()
    plan = Plan(
        params.model, params.init, params.augment, params.optimizer, params.schedule, params.loss,
        params.train.model_copy(update={"seed": seed}), params.trainer, params.engine, params.data,
        params.tracking,
    )  # fmt: skip
    learning = prepare(plan, store, None)
    epoch_steps = steps(store.count("train"), plan.train.batch_size, 1)
    task = task_of(plan, learning, plan.train.epochs, epoch_steps)
    tiles = TileData(
        store, train=plan.train, augment=plan.augment, weights=learning.weights, feed=plan.data
    )
    with redirect_stdout(io.StringIO()):
        lightning = trainers.make(plan.trainer, plan.engine, logger=DummyLogger(), callbacks=[])
        lightning.fit_loop.max_epochs = plan.train.epochs
        lightning.limit_val_batches = 0
        lightning.fit(task, datamodule=tiles)
    return Trial(perf_counter() - began, accuracy(task.final, store))


@torch.no_grad()
def accuracy(network: Network, store: Store) -> float:
    """Share of the test tiles that are told rightly."""
    pixels = np.array_split(store.pixels("test"), 4)
    network.eval()
    found = [network(as_input(torch.from_numpy(part))).argmax(dim=1).numpy() for part in pixels]
    return float((np.concatenate(found) == store.labels("test")).mean())


class Study:
    """The trainings.

    Args:
        store: The tiles.
        goal: Accuracy to reach.
        seeds: Of each training.
        threads: Of the CPU; None for what torch takes.
    """

    def __init__(self, store: Store, goal: float, seeds: int, threads: int | None) -> None:
        self.store = store
        self.goal = goal
        self.seeds = seeds
        self.threads = threads

    def once(self, params: Params, epochs: int, seed: int) -> Trial:
        """Train once, so long."""
        section = params.train.model_copy(update={"epochs": epochs})
        engine = params.engine.model_copy(update={"threads": self.threads})
        return train(
            params.model_copy(update={"train": section, "engine": engine}), self.store, seed
        )

    def score(
        self, params: Params, epochs: int, seeds: int, beside: Callable[[int], Trial] | None = None
    ) -> Score:
        """Train with so many seeds; with a few where these tell that the goal is far.

        ``beside`` trains the record in turn with the first of them: a drifting machine slows both.
        """
        trials: list[Trial] = []
        for seed in range(seeds):
            before = beside(seed).seconds if beside and seed < FIRST else None
            trials.append(self.once(params, epochs, seed)._replace(beside=before))
            mean = statistics.mean(trial.accuracy for trial in trials)
            if len(trials) == FIRST and mean < self.goal - FAR:
                break
        score = Score(epochs, tuple(trials))
        say(score.sentence())
        return score

    def reach(
        self,
        params: Params,
        lengths: Sequence[int],
        seeds: int,
        beside: Callable[[int], Trial] | None = None,
    ) -> Score | None:
        """The shortest of these trainings that reaches the goal."""
        for epochs in lengths:
            score = self.score(params, epochs, seeds, beside)
            if score.accuracy >= self.goal:
                return score
        return None

    def row(self, variant: Variant, record: Score) -> str:
        """A line of the table: at the record's length, and where the goal is reached."""
        say(variant.name)
        params, plain = variant.params(), Variant("").params()
        beside = partial(self.once, plain, record.epochs)
        same = self.score(params, record.epochs, self.seeds, beside)
        points = 100 * (same.accuracy - record.accuracy)
        head = f"| {variant.name} | {same.share} | {points:+.2f} | {same.times}"
        longer = [epochs for epochs in RUNGS if epochs > record.epochs]
        reached: Score | None = same
        if same.accuracy < self.goal:
            reached = self.reach(params, longer, self.seeds, beside)
        if reached is None:
            return f"{head} | more than {RUNGS[-1]} | |"
        return f"{head} | {reached.epochs} | {reached.times} |"


HEAD = """# Speedrun

Written by `python -m benchmarks.speedrun`. How long does it take to train to 99 % of the default
run's accuracy on the sample's test tiles, {goal:.2%}, on average over seeds? `experiment=speedrun`
takes **{seconds:.2f} s**: {epochs} epochs, {accuracy} with {seeds} seeds.{slow}

Time runs from the opened tile store to the last step: building the network, measuring its first
layer, bringing the tiles into memory, all steps. It leaves out the imports, validation and the
test. It is the median over seeds; an accuracy is their mean, with the deviation over seeds.

Each line below undoes one thing and leaves all else as it is: first at the record's length, then
with as many epochs as it takes to reach the goal again. What it loses is what the technique gains.
A line that loses nothing shows what the record does without. A time is told in times of the
record's, trained in turn with it.

| the record with | accuracy | points | time | epochs to the goal | time to the goal |
|---|---:|---:|---:|---:|---:|
"""
TAIL = """
The record was chosen by looking at these test tiles, as is usual for such records: it says how fast
training can be, not how well a network does on tiles that nobody has seen.

Machine: {machine}.
"""


def text(goal: float, record: Score, rows: Sequence[str], default: Score | None) -> str:
    """The file."""
    slow = ""
    if default is not None:
        slow = (
            f" The default training reaches it in {default.epochs} epochs and "
            f"{default.seconds:.1f} s ({len(default.trials)} seeds), "
            f"{default.seconds / record.seconds:.0f} times as long."
        )
    head = HEAD.format(
        goal=goal,
        seconds=record.seconds,
        epochs=record.epochs,
        accuracy=record.share,
        seeds=len(record.trials),
        slow=slow,
    )
    return head + "\n".join(rows) + "\n" + TAIL.format(machine=machine())


def main() -> None:
    """Measure everything and write what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speedrun", description=__doc__)
    parser.add_argument("--tiles", type=Path, default=ROOT / "data" / "tiles", help="the sample's")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of the record and its variants")
    parser.add_argument("--threads", type=int, help="of the CPU; what torch takes if absent")
    parser.add_argument("--no-default", action="store_true", help="leave the default training out")
    arguments = parser.parse_args()
    goal = SHARE * json.loads(METRICS.read_text(encoding="utf-8"))["accuracy"]
    study = Study(Store.open(arguments.tiles), goal, arguments.seeds, arguments.threads)
    params = Variant("").params()
    train(params, study.store, 0)  # what runs for the first time runs slowly
    record = study.reach(params, RUNGS, arguments.seeds)
    if record is None:
        raise SystemExit(f"Expected experiment=speedrun to reach {goal:.2%}, got less.")
    rows = [study.row(variant, record) for variant in VARIANTS]
    plain = validate(yaml.safe_load(compose(["tracking=none"])))
    say("default")
    default = None if arguments.no_default else study.reach(plain, LENGTHS, FIRST)
    RESULT.write_text(text(goal, record, rows, default), encoding="utf-8")
    say(RESULT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
