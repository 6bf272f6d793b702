"""How members of an ensemble are heard, and the ways to lay a tile before them: pure, on tensors.

All works on log-probabilities, so that nothing underflows on the way and a sum of shares is a
``logsumexp``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Vote = Literal["soft", "hard", "weighted"]
Views = Literal["none", "flips", "symmetries"]

VOTES: tuple[Vote, ...] = ("soft", "hard", "weighted")
# Of a vote, that the mean probability has in a hard vote: it decides ties, no majority, and leaves
# no class at 0 that any member thought possible.
TIE_BREAK = 0.01


def shares(accuracies: Sequence[float]) -> list[float]:
    """Weights of members, summing to 1, in proportion to their accuracies; equal if all are 0."""
    total = math.fsum(accuracies)
    return [each / total if total else 1 / len(accuracies) for each in accuracies]


def vote(logs: Tensor, kind: Vote, weights: Sequence[float]) -> Tensor:
    """What members say together: log-probabilities (M, N, K) -> (N, K).

    ``soft`` is the mean probability, ``weighted`` the mean by weights that sum to 1. ``hard`` is
    the share of members for which a class comes first; of classes with as many votes the one with
    the higher mean probability comes first, which has ``TIE_BREAK`` of a vote.
    """
    if kind == "hard":
        return _hard(logs)
    if kind == "soft":
        return mean(logs)
    scale = torch.tensor(weights, dtype=logs.dtype, device=logs.device).log()
    return (logs + scale[:, None, None]).logsumexp(dim=0)


def _hard(logs: Tensor) -> Tensor:
    members, _, classes = logs.shape
    first = logs.argmax(dim=2, keepdim=True)
    votes = (first == torch.arange(classes, device=logs.device)).to(logs.dtype).sum(dim=0)
    return ((votes + TIE_BREAK * logs.exp().mean(dim=0)) / (members + TIE_BREAK)).log()


def mean(logs: Tensor) -> Tensor:
    """Log of the mean probability: (M, N, K) -> (N, K)."""
    return logs.logsumexp(dim=0) - math.log(len(logs))


def views(x: Tensor, kind: Views) -> list[Tensor]:
    """The ways to lay tiles (N, C, H, H) that land cover looks the same from, each once.

    ``flips``: rows, columns, both or neither turned round. ``symmetries``: these, and the same of
    the transposed tile, which together are the eight symmetries of the square. Either set is a
    group: laying the tile otherwise permutes the views, and leaves what is the mean over them.
    """
    if kind == "none":
        return [x]
    laid = [x] if kind == "flips" else [x, x.transpose(2, 3)]
    return [way for tile in laid for way in (tile, tile.flip(2), tile.flip(3), tile.flip(2, 3))]


def view_count(kind: Views) -> int:
    """How many there are."""
    return {"none": 1, "flips": 4, "symmetries": 8}[kind]
