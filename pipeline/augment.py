"""What happens to a training batch, on its device, for any number of bands."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from pipeline import distortions
from pipeline.distortions import Draws, Scale

if TYPE_CHECKING:
    from pipeline.schema import AugmentSection

Distortion = Callable[[Tensor, float, Draws, Scale], Tensor]


def entropy(*keys: int) -> int:
    """A seed mixed from several, so that neighbours such as epochs 1 and 2 share nothing."""
    state = np.random.SeedSequence(keys).generate_state(1, np.uint64)[0]
    return int(state >> np.uint64(1))  # torch takes 63 bits


def generator(device: torch.device, *keys: int) -> torch.Generator:
    """Random numbers that depend on the keys alone, say seed, epoch and step."""
    return torch.Generator(device).manual_seed(entropy(*keys))


def generators(device: torch.device, count: int, *keys: int) -> Iterator[torch.Generator]:
    """One after the other, of which each depends on the keys and its place alone."""
    # All seeds at once: one by one they would cost as much as a convolution.
    states = np.random.SeedSequence(keys).generate_state(count, np.uint64) >> np.uint64(1)
    random = torch.Generator(device)
    for state in states.tolist():
        yield random.manual_seed(state)


# Where the tile lies, then the light, then the sensor: the order in which an image comes about.
BEFORE: dict[str, Distortion] = {
    "flips": distortions.flips,
    "quarter_turns": distortions.quarter_turns,
}
AFTER: dict[str, Distortion] = {
    "contrast": distortions.contrast,
    "band_contrast": distortions.band_contrast,
    "brightness": distortions.brightness,
    "band_brightness": distortions.band_brightness,
    "haze": distortions.haze,
    "noise": distortions.noise,
    "scratches": distortions.scratches,
    "dead_lines": distortions.dead_lines,
    "band_dropout": distortions.band_dropout,
}


class Augment:
    """The distortions of a section, tile by tile; those with an amount of 0 cost nothing.

    Args:
        section: What, and how much.
        mean: Of each band (C,) in the training split.
        std: Deviation of each band (C,).
    """

    def __init__(
        self, section: AugmentSection, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        self.section = section
        middle, deviation = (
            torch.as_tensor(np.asarray(values), dtype=torch.float32)[:, None, None]
            for values in (mean, std)
        )
        self.scale = Scale(middle, deviation, float(deviation.square().mean().sqrt()))
        self.before, self.after = (self._asked_for(those) for those in (BEFORE, AFTER))

    def _asked_for(self, those: dict[str, Distortion]) -> list[tuple[Distortion, float]]:
        amounts = {name: getattr(self.section, name) for name in those}
        return [(those[n], a) for n, a in amounts.items() if a and a != "alternate"]

    @property
    def alternates(self) -> bool:
        """Whether tiles are mirrored by turns."""
        return self.section.flips == "alternate"

    def __call__(self, x: Tensor, draws: Draws, ways: Tensor | None = None) -> Tensor:
        """(N, C, H, W) float -> the same shape, on the device of both.

        ``ways`` (N,), from 0 to 3, says how each tile is to be mirrored where flips alternate.
        """
        section = self.section
        if self.scale.std.device != x.device:
            mean, std, unit = self.scale
            self.scale = Scale(mean.to(x.device), std.to(x.device), unit)
        if ways is not None:
            x = distortions.flip(x, ways >= 2, ways % 2 == 1)
        for distortion, amount in self.before:
            x = distortion(x, amount, draws, self.scale)
        if section.rotation or section.zoom or section.shift:
            x = distortions.move(x, section.rotation, section.zoom, section.shift, draws)
        for distortion, amount in self.after:
            x = distortion(x, amount, draws, self.scale)
        return x.contiguous(memory_format=torch.channels_last)
