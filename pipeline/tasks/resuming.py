"""Training that was broken off goes on from its last whole epoch, to the same weights."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from pipeline.bundle import WEIGHTS
from pipeline.console import say
from pipeline.errors import DivergenceError

KEPT = 2  # should the newest be damaged, there is the one before
EVERY = 1.0  # seconds from one checkpoint to the next at least: small sets have short epochs
MEMBER = "member"
DIVERGED = "diverged"  # a file in the folder of a training that did
BROKEN_OFF = 3  # trainings of other parameters or data whose checkpoints are kept


class Resumable(Checkpoint):
    """Writes a checkpoint after an epoch: whole or not at all, its digest in its name.

    What else decides how training goes on (batches, augmentation, dropout) is a function of seed,
    epoch and step, so that the end of an epoch is all that has to be kept. Stands behind the
    callback that keeps the best epoch, whose state belongs to the checkpoint.
    """

    def __init__(self, folder: Path, every: float = EVERY) -> None:
        self.folder = folder
        self.every = every
        self.written = monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write, if the last one is old enough; on all ranks, as some strategies ask for it."""
        if not trainer.strategy.broadcast(monotonic() - self.written >= self.every):
            return
        self.written = monotonic()
        part = self.folder / "epoch.part"
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            epoch = trainer.current_epoch + 1
            part.replace(self.folder / f"{_stem(trainer)}{epoch:06d}-{_digest(part)}.ckpt")
            for old in list(_newest_first(self.folder, trainer))[KEPT:]:
                old.unlink(missing_ok=True)


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
        if trainer.is_global_zero:
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
    for path in _newest_first(folder, trainer):
        if _is_whole(path):
            talk(f"Goes on after epoch {_epoch(path)}{_why(folder)}")
            return path
        talk(f"Passed over {path}, which is damaged.")
    whole = training_of(folder)
    others = _by_age(whole.parent)
    if any(folder.glob("*epoch*.ckpt")):
        talk("Starts afresh: training was broken off on other devices or in another precision.")
    elif others and whole not in others:
        talk(f"Starts afresh: {others[0]} was broken off with other parameters or tiles.")
    return None


def _why(folder: Path) -> str:
    if not (folder / DIVERGED).exists():
        return ", where training was broken off."
    return (
        " of a training that diverged, and so will this one, as its parameters are the same. "
        "Others start afresh: a lower optimizer.lr, or train.clip=1."
    )


def forget_oldest(root: Path) -> None:
    """Keep few of the trainings that were broken off."""
    for folder in _by_age(root)[BROKEN_OFF:]:
        shutil.rmtree(folder, ignore_errors=True)


def member_folder(folder: Path, member: int) -> Path:
    """Where a member of an ensemble keeps its own, in the folder of the training."""
    return folder / f"{MEMBER}{member}"


def training_of(folder: Path) -> Path:
    """The folder of the training that a folder is of, or is one of a member of."""
    return folder.parent if folder.name.startswith(MEMBER) else folder


def _by_age(root: Path) -> list[Path]:
    """Folders that hold a checkpoint to go on from, or a member that is done, the newest first."""
    held = [*root.glob("*/*epoch*.ckpt"), *root.glob(f"*/{MEMBER}*/*epoch*.ckpt")]
    held += root.glob(f"*/{MEMBER}*/{WEIGHTS}")
    folders = {training_of(path.parent) for path in held}
    return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)


def _stem(trainer: pl.Trainer) -> str:
    """What a checkpoint must share with the training that goes on from it."""
    return f"ranks{trainer.world_size}-{trainer.precision}-epoch"


def _newest_first(folder: Path, trainer: pl.Trainer) -> Iterator[Path]:
    yield from sorted(folder.glob(f"{_stem(trainer)}*.ckpt"), key=_epoch, reverse=True)


def _epoch(path: Path) -> int:
    return int(path.stem.rpartition("-")[0][-6:])


def _is_whole(path: Path) -> bool:
    """Whether its digest is the one in its name."""
    return path.is_file() and path.stem.rpartition("-")[2] == _digest(path)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def _silent(text: str) -> None:
    pass
