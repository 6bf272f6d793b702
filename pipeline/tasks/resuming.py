"""Training that was broken off goes on from its last checkpoint, to the same weights."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from pipeline.console import say
from pipeline.errors import DivergenceError
from pipeline.stopping import Stopped, Stopper
from pipeline.tasks.folders import TOLD, other_than
from pipeline.tasks.learner import Learner

KEPT = 2  # should the newest be damaged, there is the one before
EVERY = 1.0  # seconds from one checkpoint to the next at least: small sets have short epochs
BRIEF = 3.0  # seconds until a rank knows the signal that another one got
DIVERGED = "diverged"  # a file in the folder of a training that did


class Place(NamedTuple):
    """How far a training is; that of a checkpoint is in its name."""

    epochs: int  # whole ones
    steps: int  # of the next one

    def __str__(self) -> str:
        some = f"{self.steps} {'step' if self.steps == 1 else 'steps'}"
        return f"epoch {self.epochs}" + f" and {some}" * (self.steps > 0)

    @property
    def stem(self) -> str:
        """Part of a file's name; in the order of names as in time."""
        return f"epoch{self.epochs:06d}-step{self.steps:06d}"

    @classmethod
    def of(cls, path: Path) -> Place:
        """That of a checkpoint."""
        found = re.search(r"epoch(\d+)-step(\d+)-\w+$", path.stem)
        assert found is not None, "it was found by its name"
        return cls(int(found[1]), int(found[2]))


class Resumable(Checkpoint):
    """Writes checkpoints, whole or not at all, with their digests in their names.

    One after an epoch, if the last one is old enough. What else decides how training goes on
    (batches, augmentation, dropout) is a function of seed, epoch and step, so that the end of an
    epoch is all that has to be kept. And one where a signal stops the training, with what was
    counted of its epoch: after the step, or where several ranks must stop together, after the
    chunk of steps.

    Stands behind the callback that keeps the best epoch, whose state belongs to the checkpoint.
    """

    def __init__(self, folder: Path, stopper: Stopper, every: float = EVERY) -> None:
        self.folder, self.stopper = folder, stopper
        self.every = every
        self.written = monotonic()
        # Lightning's counts at the end of the last whole epoch: for it, an epoch that was broken
        # off begins anew, with the batches that are left.
        self.loops: dict[str, Any] | None = None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Know what Lightning goes on from."""
        self.loops = checkpoint["loops"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Leave out what Lightning counted since the last whole epoch."""
        if _place(pl_module).steps:
            checkpoint["loops"] = self.loops
        else:
            self.loops = checkpoint["loops"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Know what Lightning's counts are like before the first epoch."""
        self.loops = self.loops or _loops(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Stop if any rank was asked to; at the end of an epoch its measures come first."""
        if self._asked(trainer) and _place(pl_module).steps:
            self._stop(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write, if the last one is old enough; on all ranks, as some strategies ask for it."""
        if self._asked(trainer):
            self._stop(trainer, pl_module)
        if trainer.strategy.broadcast(monotonic() - self.written >= self.every):
            self._write(trainer, pl_module)
        else:
            self.loops = _loops(trainer)

    def _asked(self, trainer: pl.Trainer) -> bool:
        asked = self.stopper.asked()
        if trainer.world_size == 1:
            return asked
        return trainer.strategy.reduce_boolean_decision(asked, all=False)

    def _stop(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self._write(trainer, task)
        if trainer.is_global_zero:
            say(f"Stopped after {_place(task)}; the same command goes on from there.")
        raise self.stopper.settle(BRIEF) or Stopped()

    def _write(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        self.written = monotonic()
        part = self.folder / "epoch.part"
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            stem = f"{_stem(trainer)}{_place(task).stem}"
            part.replace(self.folder / f"{stem}-{_digest(part)}.ckpt")
            for old in list(_newest_first(self.folder, trainer))[KEPT:]:
                old.unlink(missing_ok=True)


def _place(task: pl.LightningModule) -> Place:
    assert isinstance(task, Learner)
    return Place(*divmod(task.steps, task.epoch_steps))


def _loops(trainer: pl.Trainer) -> dict[str, Any]:
    """Lightning's counts as it puts them into a checkpoint."""
    names = ("fit_loop", "validate_loop", "test_loop", "predict_loop")
    return {name: getattr(trainer, name).state_dict() for name in names}


@contextmanager
def going_on(folder: Path, trainer: pl.Trainer) -> Iterator[Path | None]:
    """The checkpoint that rank zero goes on from, or None, on all ranks.

    A machine that does not share rank zero's folder gets a copy for the time. That training
    diverged is written down beside it, for whoever goes on from there.
    """
    try:
        with _on_all_ranks(folder, trainer) as begun:
            yield begun
    except DivergenceError:
        if trainer.is_global_zero and folder.is_dir():  # else there is nothing to go on from
            (folder / DIVERGED).touch()
        raise


@contextmanager
def _on_all_ranks(folder: Path, trainer: pl.Trainer) -> Iterator[Path | None]:
    found = last_whole(folder, trainer) if trainer.is_global_zero else None
    if trainer.world_size == 1:
        yield found
        return
    name: str | None = trainer.strategy.broadcast(found.name if found else None)
    if name is None:
        yield None
        return
    mine = folder / name
    lacking = not _is_whole(mine)
    if not trainer.strategy.reduce_boolean_decision(lacking, all=False):
        yield mine
        return
    content: bytes = trainer.strategy.broadcast(found.read_bytes() if found else b"")
    with TemporaryDirectory() as place:
        if lacking:
            mine = Path(place) / name
            mine.write_bytes(content)
        yield mine


def last_whole(folder: Path, trainer: pl.Trainer) -> Path | None:
    """The newest checkpoint that is whole; None to start from the beginning. Says which it is."""
    talk = say if trainer.is_global_zero else _silent
    damaged = False
    for path in _newest_first(folder, trainer):
        if _is_whole(path):
            talk(f"Goes on after {Place.of(path)}{_why(folder)}")
            return path
        talk(f"Passed over {path}, which is damaged.")
        damaged = True
    if damaged:
        talk("Starts afresh: no whole checkpoint is left.")
    elif any(folder.glob("*epoch*.ckpt")):
        talk("Starts afresh: training was broken off on other devices or in another precision.")
    elif other := other_than(folder):
        talk(f"Starts afresh: {other} was broken off with other parameters or tiles.")
        (other / TOLD).touch()  # not at each training from now on
    return None


def _why(folder: Path) -> str:
    if not (folder / DIVERGED).exists():
        return ", where training was broken off."
    return (
        " of a training that diverged, and so will this one, as its parameters are the same. "
        "Others start afresh, such as a lower optimizer.lr."
    )


def _stem(trainer: pl.Trainer) -> str:
    """What a checkpoint must share with the training that goes on from it."""
    return f"ranks{trainer.world_size}-{trainer.precision}-"


def _newest_first(folder: Path, trainer: pl.Trainer) -> Iterator[Path]:
    found = folder.glob(f"{_stem(trainer)}epoch*-step*.ckpt")
    yield from sorted(found, key=Place.of, reverse=True)


def _is_whole(path: Path) -> bool:
    """Whether its digest is the one in its name."""
    return path.is_file() and path.stem.rpartition("-")[2] == _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _silent(text: str) -> None:
    pass
