"""Layers that ``torch.nn`` lacks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Raw pixel values, zero-centred and scaled band by band with the training split's statistics.

    Being the first layer, it goes wherever the network goes: no program that uses the network can
    forget it or use other numbers.

    Args:
        num_features: Bands; filled in.
        scale: ``True`` divides each band by its own deviation. ``False`` only centres the bands
            and divides all by one number, the root of their mean variance: the bands keep their
            relative contrast, as in zero-centred input, and the first layer still sees values
            near 1 whatever the type of the pixels; undivided values of 0 to 255, let alone 0 to
            65535, would multiply the gradients of the first weights and ask for another learning
            rate for each sensor.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, num_features: int, scale: bool = True) -> None:
        super().__init__()
        self.scale = scale
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("deviation", torch.ones(num_features))

    def set_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the mean and the deviation of each band; a constant band is only centred."""
        deviation = torch.as_tensor(std, dtype=torch.float64)
        if not self.scale:
            deviation = deviation.square().mean().sqrt().expand_as(deviation)
        self.mean.copy_(torch.as_tensor(mean, dtype=torch.float64))
        self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0))

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) raw values -> (N, C, H, W) near 0."""
        return (pixels - self.mean[:, None, None]) / self.deviation[:, None, None]

    def extra_repr(self) -> str:
        """Arguments, as ``print`` shows them."""
        return f"num_features={self.mean.numel()}, scale={self.scale}"


class GlobalAvgPool(nn.Module):
    """The mean over all positions: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        return x.mean(dim=(2, 3))


class GlobalMaxPool(nn.Module):
    """The maximum over all positions: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C)."""
        return x.amax(dim=(2, 3))
