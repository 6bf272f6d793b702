"""Lightning's numbers into a run that is open already.

Lightning's own MLflow logger sets the process's global tracking URI, logs every argument of the
module as a parameter, and ends the run when the fit ends, with evaluation still to come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
from pytorch_lightning.loggers import Logger

if TYPE_CHECKING:
    from pipeline.tracking.run import Run


class RunLogger(Logger):
    """Curves over epochs, counted from 1, so that runs with other batch sizes lie on one axis.

    The run decides by itself which process records (``tracking.place.rank_zero``); others have one
    that takes all and keeps nothing. Lightning's own idea of the rank belongs to the last trainer
    that was made in the process, whatever that was for.

    Those of a member of an ensemble have its name behind theirs: ``validation_loss/member0``.
    """

    def __init__(self, run: Run, member: str = "") -> None:
        super().__init__()
        self._run = run
        self._suffix = f"/{member}" if member else ""

    @property
    def name(self) -> str:
        """The run's name."""
        return self._run.name

    @property
    def version(self) -> str:
        """The run's id."""
        return self._run.id

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Record numbers at their epoch, or at the step of those that come without one."""
        values = {**metrics}
        epoch = values.pop("epoch", None)
        named = {f"{key}{self._suffix}": value for key, value in values.items()}
        self._run.metrics(named, step if epoch is None else int(epoch) + 1)

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the run has its parameters since it was opened."""


class RunCheck(pl.Callback):
    """Stops a training whose run could not be opened: soon, and not at the end of an epoch."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def on_train_batch_end(self, *_: Any) -> None:
        """Ask after each chunk of steps."""
        self._run.check()
