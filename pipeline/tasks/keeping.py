"""The best epoch of a training: its measure, and its weights."""

from __future__ import annotations

import math
from typing import Any, Literal

import pytorch_lightning as pl
from torch import Tensor

from pipeline.tasks.learner import Learner


class Best(pl.Callback):
    """Keeps the epoch with the best measure; of equals the one with the lower validation loss.

    A validation split of fifty tiles makes ties the rule, and the first of them is seldom the
    best. The weights are kept in memory, by rank zero, and go into each checkpoint: in a file of
    their own they could be damaged, or belong to another epoch than the checkpoint.

    Args:
        measure: As it is logged.
    """

    def __init__(self, measure: str) -> None:
        self.measure = measure
        self.epoch = 0  # from 1; 0 before the first was measured
        self.score = math.nan
        self.loss = math.inf
        self.accuracy = math.nan  # on the validation tiles; nan where there are no classes
        self.weights: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """What a training that goes on has to know."""
        names = ("epoch", "score", "loss", "accuracy", "weights")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(state_dict)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep this epoch if it is the best so far."""
        assert isinstance(pl_module, Learner)
        found = {key: float(value) for key, value in trainer.callback_metrics.items()}
        score, loss = found[self.measure], found["validation_loss"]
        if math.isnan(score) or (self.epoch and not self._better(score, loss)):
            return
        self.epoch, self.score, self.loss = trainer.current_epoch + 1, score, loss
        self.accuracy = found.get("validation_accuracy", math.nan)
        if trainer.is_global_zero:
            state = pl_module.final.state_dict()
            self.weights = {key: value.detach().cpu().clone() for key, value in state.items()}

    def _better(self, score: float, loss: float) -> bool:
        if score == self.score:
            return loss < self.loss
        sign = 1 if direction(self.measure) == "max" else -1
        return sign * score > sign * self.score


def direction(measure: str) -> Literal["min", "max"]:
    """Whether less or more of a measure is better."""
    return "min" if measure.endswith("loss") else "max"
