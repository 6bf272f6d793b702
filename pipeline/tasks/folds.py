"""Probabilities of every tile from a network that did not learn from it: k short trainings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from pipeline import console, optimization
from pipeline.augment import Augment
from pipeline.bundle import as_input
from pipeline.data import TrainingBatches
from pipeline.errors import TrainingError
from pipeline.feeding import Resident
from pipeline.network import Network
from pipeline.tasks.trainer import precision

if TYPE_CHECKING:
    from pipeline.schema import EngineSection, Optimizer, Schedule

LEAST_STEPS = 300  # a fold of few tiles is trained for more epochs
BATCH = 512  # tiles that are looked at together afterwards


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on the tiles of the other folds."""

    network: Callable[[], Network]  # a new one, with the same weights each time
    augment: Augment
    optimizer: Optimizer
    schedule: Schedule
    engine: EngineSection
    smoothing: float
    batch_size: int
    epochs: int
    seed: int

    @property
    def device(self) -> torch.device:
        """The first GPU, or the CPU where there is none."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def out_of_fold(
    pixels: NDArray[Any], labels: NDArray[np.int64], folds: NDArray[np.int64], recipe: Recipe
) -> NDArray[np.float32]:
    """Probabilities (N, K) of tiles (N, H, W, C), each from a network of the other folds.

    Raises:
        TrainingError: A training diverged.
    """
    parts: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    numbers = np.unique(folds)
    for fold in console.progress(numbers, total=len(numbers), what="folds"):
        others = np.flatnonzero(folds != fold)
        network = learn(pixels[others], labels[others], recipe)
        own = np.flatnonzero(folds == fold)
        parts.append((own, look(network, pixels[own], recipe.device)))
    out = np.zeros((len(labels), parts[0][1].shape[1]), np.float32)
    for own, found in parts:
        out[own] = found
    if not np.isfinite(out).all():
        raise TrainingError(
            "Expected finite probabilities, got none: a training of a fold diverged. Lower "
            f"optimizer.lr, now {recipe.optimizer.lr:g}."
        )
    return out


def learn(pixels: NDArray[Any], labels: NDArray[np.int64], recipe: Recipe) -> Network:
    """Train a network for a few epochs; what comes last is taken."""
    tiles = Resident(pixels, labels, recipe.device)
    network = recipe.network().to(recipe.device).train()
    optimizer = optimization.optimizer(network, recipe.optimizer)
    initial = [group["lr"] for group in optimizer.param_groups]
    epoch_steps = math.ceil(len(tiles) / recipe.batch_size)
    epochs = max(recipe.epochs, math.ceil(LEAST_STEPS / epoch_steps))
    plan = {"total": epochs * epoch_steps, "epoch_steps": epoch_steps}
    number, _ = precision(recipe.engine.precision, gpu=recipe.device.type == "cuda")
    torch.manual_seed(recipe.seed)
    weights = np.ones(int(labels.max(initial=0)) + 1)
    for epoch in range(epochs):
        batches = TrainingBatches(
            tiles, recipe.augment, weights, batch_size=recipe.batch_size, seed=recipe.seed,
            epoch=epoch,
        )  # fmt: skip
        for step, batch in enumerate(batches, start=epoch * epoch_steps):
            factor = optimization.rate(recipe.schedule, step, **plan)
            for group, rate in zip(optimizer.param_groups, initial, strict=True):
                group["lr"] = factor * rate
            with torch.autocast(recipe.device.type, torch.bfloat16, enabled=number == "bf16"):
                outputs = network(batch.pixels)
            loss = cross_entropy(outputs.float(), batch.labels, label_smoothing=recipe.smoothing)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            torch.clear_autocast_cache()
    return network.eval()


def look(network: Network, pixels: NDArray[Any], device: torch.device) -> NDArray[np.float32]:
    """Probabilities (N, K)."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            batch = np.require(pixels[start : start + BATCH], requirements=["C", "W"])
            logits = network(as_input(torch.from_numpy(batch).to(device)))
            parts.append(logits.softmax(dim=1).cpu().numpy())
    return np.concatenate(parts)
