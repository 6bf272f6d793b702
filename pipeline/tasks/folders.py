"""The folders of trainings that go on: each is one process's at a time, and few are kept."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from time import sleep

from pipeline.bundle import WEIGHTS
from pipeline.console import say

MEMBER = "member"
LOCK = "lock"  # a file in the folder, locked by the process that works there
TOLD = "told"  # a file in the folder of a training of which was told that it was broken off
BROKEN_OFF = 3  # trainings of other parameters or data whose checkpoints are kept
MOMENT = 0.05  # seconds that another process may look at a lock


@contextmanager
def own(root: Path, key: str) -> Iterator[tuple[Path, bool]]:
    """A folder that no other process works in, and whether a training was broken off there.

    The same training may run twice at a time, as queued experiments that differ in a later stage:
    the second one has a folder of its own, with a number behind the key. What is over is removed.
    """
    begun = sorted(path for path in root.glob(f"{key}*") if path.is_dir())
    folder, lock = _take(root, key, begun)
    try:
        yield folder, folder in begun
        shutil.rmtree(folder, ignore_errors=True)
        forget_oldest(root)
    finally:
        os.close(lock)


def _take(root: Path, key: str, begun: list[Path]) -> tuple[Path, int]:
    """The first folder that is free, one in which something was begun before a new one."""
    new = (root / (f"{key}-{number}" if number > 1 else key) for number in count(1))
    busy = ""
    for folder in chain(begun, (path for path in new if path not in begun)):
        folder.mkdir(parents=True, exist_ok=True)
        if (lock := _locked(folder)) is not None:
            (folder / TOLD).unlink(missing_ok=True)
            if busy:
                say(f"{busy}: this one keeps its checkpoints in {folder}.")
            return folder, lock
        busy = busy or f"Another process trains with the same parameters and tiles in {folder}"
    raise AssertionError("numbers don't end")


def _locked(folder: Path) -> int | None:
    """The lock of a folder, or None where it is another process's, or gone."""
    for _ in range(2):
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            sleep(MOMENT)
            continue
        except OSError:  # a file system without locks
            return lock
        if _is(folder / LOCK, lock):
            return lock
        os.close(lock)  # the one who had it removed the folder meanwhile
    return None


def _is(path: Path, file: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def _busy(folder: Path) -> bool:
    """Whether a process works in a folder."""
    if not (folder / LOCK).exists():
        return False
    if (lock := _locked(folder)) is not None:
        os.close(lock)
    return lock is None


def key_of(folder: Path) -> str:
    """What the training of a folder is known by."""
    return folder.name.partition("-")[0]


def member_folder(folder: Path, member: int) -> Path:
    """Where a member of an ensemble keeps its own, in the folder of the training."""
    return folder / f"{MEMBER}{member}"


def training_of(folder: Path) -> Path:
    """The folder of the training that a folder is of, or is one of a member of."""
    return folder.parent if folder.name.startswith(MEMBER) else folder


def other_than(folder: Path) -> Path | None:
    """The newest training that was broken off, where it is another one; None if it was told."""
    whole = training_of(folder)
    held = by_age(whole.parent)
    others = [] if whole in held else [one for one in held if not _busy(one)]
    if not others or (others[0] / TOLD).exists():
        return None
    return others[0]


def by_age(root: Path) -> list[Path]:
    """Folders that hold a checkpoint to go on from, or a member that is done, the newest first."""
    held = [*root.glob("*/*epoch*.ckpt"), *root.glob(f"*/{MEMBER}*/*epoch*.ckpt")]
    held += root.glob(f"*/{MEMBER}*/{WEIGHTS}")
    folders = {training_of(path.parent) for path in held}
    return sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True)


def forget_oldest(root: Path) -> None:
    """Keep few of the trainings that were broken off, and those that run."""
    for folder in [one for one in by_age(root) if not _busy(one)][BROKEN_OFF:]:
        shutil.rmtree(folder, ignore_errors=True)
