"""Learning curves: a line an epoch for the eye, and a table of them for DVC's plots."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import pytorch_lightning as pl

from pipeline.console import say

# Those that a task measures make up the table.
COLUMNS = (
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "validation_balanced_accuracy",
    "learning_rate",
    "dead_relus",
)


class Curves(pl.Callback):
    """Writes ``curves.csv`` and prints a line after each epoch; rank zero alone does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[str] = []
        self.began = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The table so far, for a training that goes on."""
        return {"lines": self.lines}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the table."""
        self.lines = list(state_dict["lines"])

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to time."""
        self.began = perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add a line; validation is over by now."""
        if not trainer.is_global_zero:
            return
        found = trainer.callback_metrics
        values = {key: float(found[key]) for key in COLUMNS if key in found}
        epoch = trainer.current_epoch + 1
        self.lines = self.lines or [",".join(["epoch", *values])]
        self.lines.append(",".join([str(epoch), *(f"{value:.6g}" for value in values.values())]))
        _write(self.path, self.lines)
        self._say(epoch, trainer.max_epochs or epoch, values)

    def _say(self, epoch: int, epochs: int, values: dict[str, float]) -> None:
        if sys.stdout.isatty() and epoch < epochs:
            return  # the progress bar shows the rest
        shares = [
            f", {name} {values[key]:.1%}"
            for name, key in (
                ("accuracy", "validation_accuracy"),
                ("balanced", "validation_balanced_accuracy"),
            )
            if key in values
        ]
        say(
            f"epoch {epoch}/{epochs}: loss {values['train_loss']:.3f}, "
            f"validation loss {values['validation_loss']:.3f}{''.join(shares)} "
            f"({perf_counter() - self.began:.1f} s)"
        )


def gather(paths: Mapping[int, Path], target: Path) -> None:
    """One table of those of several members, whose numbers become its first column, ``member``."""
    lines: list[str] = []
    for member, path in paths.items():
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        lines = lines or [f"member,{head}"]
        lines += [f"{member},{row}" for row in rows]
    _write(target, lines)


def _write(path: Path, lines: list[str]) -> None:
    """The whole table anew each time: a reader sees it with or without the last line, not cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
    temporary.replace(path)
