"""Optimizers, learning rates and losses from their sections."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.errors import ClassError
from pipeline.selection import factors
from pipeline.targets import nearest
from pipeline.types import Classes

if TYPE_CHECKING:
    from pipeline.schema import Loss, Optimizer, Schedule


def optimizer(network: nn.Module, section: Optimizer) -> torch.optim.Optimizer:
    """The optimizer of a section, over all weights that are not frozen.

    Weight decay spares biases and the vectors of batch normalization, which set levels and don't
    make a function rougher (Goodfellow, Bengio and Courville 2016, section 7.1). Layers that a
    donor gave may learn slower than new ones, each at its own factor of the rate (Howard and Ruder
    2018, "discriminative fine-tuning").

    Raises:
        LayerError: A pattern of ``optimizer.factors`` names no layer with weights.
    """
    rates = dict(factors(network, section.factors or {}))
    learning = [(rates[n], p) for n, p in network.named_parameters() if p.requires_grad]
    groups = [
        {
            "params": [p for rate, p in learning if rate == factor and (p.dim() > 1) is decayed],
            "weight_decay": section.weight_decay if decayed else 0.0,
            "lr": section.lr * factor,
        }
        for factor in dict.fromkeys(rate for rate, _ in learning)
        for decayed in (True, False)
    ]
    # One pass over all weights of a group in place of a dozen calls for each.
    if section.name == "sgd":
        return torch.optim.SGD(
            groups, lr=section.lr, momentum=section.momentum, nesterov=section.nesterov, fused=True
        )
    kind = torch.optim.Adam if section.name == "adam" else torch.optim.AdamW
    return kind(groups, lr=section.lr, betas=section.betas, fused=True)


def rate(section: Schedule, step: int, *, total: int, epoch_steps: int) -> float:
    """Factor of the learning rate at a step, counted from 0.

    Args:
        section: Which schedule.
        step: Optimizer steps done.
        total: Steps of the whole training.
        epoch_steps: Steps of an epoch.
    """
    if section.name == "constant":
        return 1.0
    if section.name == "step":
        return float(section.factor ** (step // (section.every * epoch_steps)))
    warm = round(section.warmup * total)
    if section.name == "cosine":
        if step < warm:
            return (step + 1) / (warm + 1)
        return _cosine(1.0, section.final, (step - warm) / max(1, total - warm))
    # Smith and Topin 2019: up and down once, both along half a cosine.
    low = 1 / section.start
    if step < warm:
        return _cosine(low, 1.0, step / warm)
    return _cosine(1.0, low * 1e-4, (step - warm) / max(1, total - warm))


def _cosine(start: float, end: float, share: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) * (1 + math.cos(math.pi * min(1.0, share))) / 2


def class_weights(
    section: Loss, classes: Classes, counts: Mapping[str, int]
) -> NDArray[np.float64]:
    """Weight of each class (K,) in the loss; a loss that knows no classes weighs all tiles alike.

    ``balanced`` weighs a class with n_c of n training tiles by n / (K n_c), so that all classes
    weigh the same in sum and the mean weight of a tile is 1; a class without tiles weighs 0.

    Raises:
        ClassError: A weight is given for a class that is not there, or no tile weighs anything.
    """
    if section.name == "squared_error":
        return np.ones(max(1, len(classes)))
    wanted = section.class_weights
    if wanted == "none":
        return np.ones(len(classes))
    if wanted == "balanced":
        n = np.array([counts.get(name, 0) for name in classes], dtype=np.float64)
        weights = np.zeros_like(n)
        np.divide(n.sum(), len(classes) * n, out=weights, where=n > 0)
        return weights
    for name in wanted:
        if name not in classes.names:
            raise ClassError(f"loss.class_weights has no class {name!r}.{nearest(name, classes)}")
    weights = np.array([wanted.get(name, 1.0) for name in classes])
    tiles = np.array([counts.get(name, 0) for name in classes])
    if tiles.any() and not weights @ tiles:
        raise ClassError(
            "Expected training tiles of a class with a weight above 0 in loss.class_weights, got "
            "none; raise a weight."
        )
    return weights
