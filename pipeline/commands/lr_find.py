"""Find a learning rate for the present parameters and tiles: ``reports/lr_find/``.

A copy of the network trains for some steps, with the batches, augmentation, loss and optimizer that
``train`` would use, while the rate rises. Nothing of it is kept but the curve, in MLflow as a run
of its own.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import members
from pipeline.console import say
from pipeline.data import TileData
from pipeline.errors import ConfigError, TrainingError
from pipeline.figures import canvas
from pipeline.figures.rates import losses_by_rate
from pipeline.order import steps as steps_of
from pipeline.stages.train import donors_of, facts_of
from pipeline.store import Store
from pipeline.tasks import trainer as trainers
from pipeline.tasks.fitting import Learning, Plan, prepare, task_options
from pipeline.tasks.range_test import (
    ClassifierTest,
    Found,
    Over,
    RangeTest,
    ReconstructorTest,
    Sweep,
    read,
)
from pipeline.tracking import start as start_run

if TYPE_CHECKING:
    from pipeline.schema import (
        AugmentSection,
        DataSection,
        EngineSection,
        InitSection,
        Loss,
        ModelSection,
        Optimizer,
        Schedule,
        TrackingSection,
        TrainerSection,
        TrainSection,
    )

OUT = Path("reports/lr_find")
FEWEST = 20  # steps; fewer make no curve
RATE = "optimizer.lr"


def run(
    model: ModelSection,
    init: InitSection,
    augment: AugmentSection,
    optimizer: Optimizer,
    schedule: Schedule,
    loss: Loss,
    train: TrainSection,
    trainer: TrainerSection,
    engine: EngineSection,
    data: DataSection,
    tracking: TrackingSection,
    start: float = 1e-6,
    end: float = 10.0,
    steps: int = 300,
    overrides: Sequence[str] = (),
    composed: Mapping[str, Any] | None = None,
) -> None:
    """Raise the rate from ``start`` to ``end``; print rates that fit, draw and write the curve.

    ``overrides`` and ``composed``, all of params.yaml, are for what is told and recorded.

    Raises:
        ConfigError: ``start``, ``end`` and ``steps`` make no range of rates.
        TrainingError: The loss fell at no rate.
    """
    sweep = _sweep(start, end, steps)
    store = Store.open()
    plan = Plan(
        model, init, augment, optimizer, schedule, loss,
        _whole_batches(train, trainer), trainer, engine, data, tracking,
    )  # fmt: skip
    if train.count > 1:
        say(f"Of {train.count} members the first is tried, and no other.")
    plan = members.plans(plan)[0]
    donors, _ = donors_of(plan, 1)
    learning = prepare(plan, store, donors[0])
    tiles = TileData(store, train=plan.train, augment=augment, weights=learning.weights, feed=data)
    task = _task(plan, learning, sweep, store.count("train"))
    take_steps(task, tiles, trainer, engine)
    found = read(sweep, task.losses)
    draw(found, plan.model.name, optimizer.lr)
    for line in told(found, optimizer.lr, schedule, overrides):
        say(line)
    say(f"Wrote {OUT}/curve.png and curve.csv.")
    with start_run(
        tracking,
        params=composed or plan.params(),
        overrides=overrides,
        data=facts_of(store),
        command="lr-find",
    ) as record:
        record.curves(found.curves())
        record.metrics(found.told())
        record.artifact(OUT, "lr_find")


def _sweep(start: float, end: float, steps: int) -> Sweep:
    if not 0 < start < end < math.inf:
        raise ConfigError(f"Expected 0 < --start < --end, got {start:g} and {end:g}.")
    if steps < FEWEST:
        raise ConfigError(f"Expected {FEWEST} --steps or more, got {steps}.")
    return Sweep(start, end, steps)


def _whole_batches(train: TrainSection, trainer: TrainerSection) -> TrainSection:
    """Batches of all devices that are asked for: one process tries them."""
    devices = trainer.devices if isinstance(trainer.devices, int) else 1
    size = train.batch_size * devices * trainer.num_nodes
    return train.model_copy(update={"batch_size": size})


def _task(plan: Plan, learning: Learning, sweep: Sweep, tiles: int) -> RangeTest:
    epoch_steps = steps_of(tiles, plan.train.batch_size * plan.train.accumulate, 1)
    options = task_options(plan, math.ceil(sweep.steps / epoch_steps) + 1, epoch_steps)
    options |= {"sweep": sweep, "average": 0.0, "swa": 0.0}
    if plan.loss.name == "squared_error":
        return ReconstructorTest(learning.network, **options)
    return ClassifierTest(learning.network, weights=learning.weights, loss=plan.loss, **options)


def take_steps(
    task: RangeTest, tiles: TileData, trainer: TrainerSection, engine: EngineSection
) -> None:
    """Train in one process until the test is over; nothing is validated or kept."""
    from pytorch_lightning.loggers.logger import DummyLogger

    alone = trainer.model_copy(update={"devices": 1, "num_nodes": 1, "strategy": "auto"})
    lightning = trainers.make(alone, engine, logger=DummyLogger(), callbacks=[])
    lightning.fit_loop.max_epochs = task.total_steps // task.epoch_steps
    lightning.limit_val_batches = 0
    try:
        lightning.fit(task, datamodule=tiles)
    except Over:
        pass
    except TrainingError:  # a gradient that is not finite ends the test as such a loss does
        if not task.losses:
            raise
    except SystemExit as stop:  # what Lightning makes of Ctrl-C
        raise KeyboardInterrupt from stop


def draw(found: Found, name: str, now: float) -> None:
    """The curve as a table and as a picture."""
    lines = ["learning_rate,loss,smoothed"]
    for values in zip(found.rates, found.losses, found.smooth, strict=True):
        lines.append(",".join(f"{value:.6g}" for value in values))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "curve.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    marks = {
        "least": found.least,
        "a third": found.peak,
        "a tenth": found.staying,
        "optimizer.lr now": now,
    }
    figure = losses_by_rate(
        found.rates, found.losses, found.smooth, marks, f"Learning rates for {name}"
    )
    canvas.save(figure, OUT / "curve.png")


def told(found: Found, now: float, schedule: Schedule, overrides: Sequence[str]) -> Sequence[str]:
    """What was found, in sentences, and a command that tries it with all else as it is."""
    others = [one for one in overrides if one.lstrip("+").partition("=")[0] != RATE]
    peaks = schedule.name in ("one_cycle", "cosine")
    command = shlex.join([*others, f"{RATE}={found.peak if peaks else found.staying:.2g}"])
    return (
        f"In {len(found.rates)} steps the rate rose to {found.rates[-1]:.2g}.",
        f"The loss was least at {found.least:.2g}, the edge. Try a third of it, {found.peak:.2g}, "
        f"as the peak of a schedule, a tenth, {found.staying:.2g}, as a rate that stays. Now "
        f"{RATE} is {now:g}.",
        made_of(schedule),
        f"To try one: python -m pipeline compose {command} && dvc repro",
    )


def made_of(schedule: Schedule) -> str:
    """What a schedule makes of ``optimizer.lr``."""
    name = f"schedule={schedule.name}"
    if schedule.name == "constant":
        return f"With {name}, {RATE} is the rate of all steps."
    if schedule.name == "step":
        return (
            f"With {name}, {RATE} is the rate of the first {schedule.every} epochs, and then "
            f"falls by a factor of {schedule.factor:g} again and again."
        )
    begins = f"lr / {schedule.start:g}" if schedule.name == "one_cycle" else "near 0"
    final = f"lr x {schedule.final:g}" if schedule.name == "cosine" else "almost 0"
    return (
        f"With {name}, {RATE} is the peak: the rate begins at {begins}, is there after "
        f"{schedule.warmup:.0%} of the steps, and falls to {final}."
    )
