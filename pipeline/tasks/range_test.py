"""Which learning rates a training bears: the range test of Smith 2017 (arXiv 1506.01186).

The rate rises by the same factor from step to step, over many powers of ten, until the loss turns
up again: from there on it is too large. Where the loss falls fastest says less: a network whose
first outputs are far too large falls fastest at any rate that moves it at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from pipeline.data import Batch
from pipeline.errors import TrainingError
from pipeline.tasks.classifier import Classifier
from pipeline.tasks.learner import Learner
from pipeline.tasks.reconstructor import Reconstructor

LOST = 4.0  # a loss so many times the least ends the test
WIDTH = 0.02  # of the test's steps: deviation of the window that smooths the losses
# The rate of the least loss is at the edge: a rate that stays, and one that is passed through,
# should be so many times less.
STAYING, PASSING = 10.0, 3.0


class Over(Exception):
    """The test has seen enough."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """Rates of a test: from ``start`` to ``end`` in so many steps."""

    start: float
    end: float
    steps: int

    def rate(self, step: int) -> float:
        """At a step, counted from 0."""
        return float(self.start * (self.end / self.start) ** (step / (self.steps - 1)))


class RangeTest(Learner):
    """Mixed into a task: its rate rises, and the loss of each step is kept.

    Args:
        sweep: The rates.
        options: Those of the task.
    """

    def __init__(self, *args: Any, sweep: Sweep, **options: Any) -> None:
        super().__init__(*args, **options)
        self.sweep = sweep
        self.losses: list[float] = []  # of each step
        self.pieces: list[float] = []  # of the present one
        self.recent = 0.0  # running sum of losses, of late ones more
        self.least = math.inf

    def _rate(self, step: int) -> float:
        return self.sweep.rate(step) / self.optimizer.lr

    def forward_loss(self, batch: Batch) -> Tensor:
        """Loss of a batch.

        Raises:
            Over: All steps are done, or the loss is lost.
        """
        if self.steps > len(self.losses):  # the step before is whole
            self._keep(sum(self.pieces) / len(self.pieces))
            self.pieces.clear()
        if self.steps == self.sweep.steps:
            raise Over
        loss = super().forward_loss(batch)
        self.pieces.append(loss.item())
        if not math.isfinite(self.pieces[-1]):
            raise Over
        return loss

    def _keep(self, loss: float) -> None:
        self.losses.append(loss)
        # A running mean that needs no later losses, as long as the window.
        keep = 1 - 1 / max(1.0, 2 * WIDTH * self.sweep.steps)
        self.recent = keep * self.recent + (1 - keep) * loss
        mean = self.recent / (1 - keep ** len(self.losses))
        self.least = min(self.least, mean)
        if mean > LOST * self.least:
            raise Over


class ClassifierTest(RangeTest, Classifier):
    """Of a network that classifies."""


class ReconstructorTest(RangeTest, Reconstructor):
    """Of a network that draws its tile again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What came of a test."""

    rates: NDArray[np.float64]  # (n,) of the steps that were taken
    losses: NDArray[np.float64]
    smooth: NDArray[np.float64]
    least: float  # the rate of the least loss

    @property
    def staying(self) -> float:
        """A rate for all steps."""
        return self.least / STAYING

    @property
    def peak(self) -> float:
        """The highest of a schedule that rises to it and falls again."""
        return self.least / PASSING

    def curves(self) -> dict[str, list[float]]:
        """By step."""
        named = {"learning_rate": self.rates, "loss": self.losses, "smoothed_loss": self.smooth}
        return {name: values.tolist() for name, values in named.items()}

    def told(self) -> dict[str, float]:
        """The rates that were found."""
        names = ("least", "peak", "staying")
        return {f"rate_{name}": float(getattr(self, name)) for name in names}


def read(sweep: Sweep, losses: list[float]) -> Found:
    """What the losses of a test say.

    Raises:
        TrainingError: They never fell.
    """
    values = np.array(losses)
    rates = np.array([sweep.rate(step) for step in range(len(values))])
    # About each step, so that no rate is told later than it was: a running mean lags behind.
    smooth = gaussian_filter1d(values, max(1.0, WIDTH * sweep.steps), mode="nearest")
    lowest = int(smooth.argmin()) if len(smooth) else 0
    if lowest < 2:
        raise TrainingError(
            f"Expected a loss that falls at some rate from {sweep.start:g} to {sweep.end:g}, got "
            f"one that only grew in {len(values)} steps. Lower --start."
        )
    return Found(rates, values, smooth, float(rates[lowest]))
