"""A copy of a network that may be hooked and changed, while the network itself is left alone."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.layers import Normalize

PASSES = 256  # tiles that pass the network at once


class Drawn(nn.Module):
    """A network that reconstructs, as one with a single output: its mean squared error."""

    def __init__(self, network: nn.Module, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.network = network
        self.mean, self.deviation = mean, deviation

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1): of normalized pixels, as in training."""
        apart: Tensor = self.network(x) - (x - self.mean) / self.deviation
        return apart.square().flatten(1).mean(dim=1, keepdim=True)


@dataclass(frozen=True)
class Subject:
    """A copy of a network that may be hooked, and how it normalizes."""

    network: nn.Module  # raw tiles (N, C, H, W) -> (N, K)
    mean: Tensor  # (1, C, 1, 1); what hidden pixels are set to
    deviation: Tensor

    @classmethod
    def of(cls, network: nn.Module, bands: int, *, scored: bool = True) -> Subject:
        """Copied in evaluation mode, without layers that work in place: they break hooks.

        Of a network that reconstructs its tile, unless ``scored`` is off, the output is its error.
        """
        copied = copy.deepcopy(network).eval().requires_grad_(False)
        for module in copied.modules():
            if getattr(module, "inplace", False):
                setattr(module, "inplace", False)  # noqa: B010
        mean, deviation = _statistics(copied, bands)
        if scored and getattr(network, "task", "classify") == "reconstruct":
            copied = Drawn(copied, mean, deviation)
        return cls(copied, mean, deviation)

    def tensor(self, pixels: NDArray[Any]) -> Tensor:
        """(N, H, W, C) of any number type -> (N, C, H, W) where the network is."""
        batch = torch.from_numpy(np.ascontiguousarray(pixels, dtype=np.float32))
        return batch.permute(0, 3, 1, 2).to(self.mean.device)

    def outputs(self, x: Tensor) -> Tensor:
        """(N, K) without gradients, some tiles at a time."""
        with torch.no_grad():
            return torch.cat([self.network(part) for part in torch.split(x, PASSES)])

    def probabilities(self, x: Tensor, targets: Tensor) -> Tensor:
        """(N,) of the target class."""
        return self.outputs(x).softmax(dim=1).gather(1, targets[:, None])[:, 0]


def _statistics(network: nn.Module, bands: int) -> tuple[Tensor, Tensor]:
    """Mean and deviation (1, C, 1, 1) by which the network normalizes; without, 0 and 1."""
    for module in network.modules():
        if isinstance(module, Normalize):
            kept = slice(None, bands)
            return module.mean[None, kept, None, None], module.deviation[None, kept, None, None]
    device = next((parameter.device for parameter in network.parameters()), None)
    zeros = torch.zeros(1, bands, 1, 1, device=device)
    return zeros, zeros + 1
