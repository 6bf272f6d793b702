"""How far the maps of an attribution can be believed: two tests, and what they say in words.

Sanity (Adebayo et al. 2018): a map that explains a network must change when the network forgets
what it learned. Weights are drawn anew from the head downwards, and the maps ranked against those
of the trained network.

Removal (Petsiuk et al. 2018): without the patches that a map ranks highest, the class's probability
should fall at once (deletion); with them alone, come back at once (insertion). Hidden patches get
the training split's mean. The score is the area below the insertion curve less that below the
deletion curve. In a random order what remains after deleting a share of patches is distributed as
what an insertion of the rest shows, so that the score of a map without knowledge is 0 on average;
deletion alone would reward whatever makes tiles look unlike any other.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from pipeline.attributions import WINDOWS, Method, attribute
from pipeline.layers import Normalize
from pipeline.subjects import Subject

Floats = NDArray[np.float64]
LEVELS = 4  # shares of the layers that are randomized, at most
UNCHANGED, PARTLY = 0.5, 0.25  # rank correlation with the maps of a network that knows nothing
NAMES: dict[Method, str] = {
    "saliency": "Saliency",
    "integrated_gradients": "Integrated gradients",
    "occlusion": "Occlusion",
    "grad_cam": "Grad-CAM",
    "guided_backprop": "Guided back-propagation",
}
SIGNED: tuple[Method, ...] = ("integrated_gradients", "occlusion", "grad_cam")


def importance(maps: NDArray[Any], method: Method) -> NDArray[np.float32]:
    """How much each pixel speaks for the class, all bands together: (N, H, W).

    A gradient's sign says which way to change a pixel, not whether it matters: there its magnitude
    counts.
    """
    signed = maps if method in SIGNED else np.abs(maps)
    return np.asarray(signed.sum(axis=-1), dtype=np.float32)


@dataclass(frozen=True)
class Sanity:
    """How alike maps are while the network forgets, from the head downwards."""

    shares: tuple[float, ...]  # of the layers with weights that were drawn anew, rising to 1
    correlation: Floats  # (len(shares), N) rank correlation of magnitudes with the trained maps

    @property
    def headless(self) -> float:
        """Mean correlation once the layers next to the head know nothing of the classes."""
        return float(self.correlation[0].mean())

    @property
    def left(self) -> float:
        """Mean correlation once nothing is left of what was learned."""
        return float(self.correlation[-1].mean())


@dataclass(frozen=True)
class Removal:
    """What becomes of the class's probability while patches are taken away or put back."""

    deletion: Floats  # (steps + 1, N), from the whole tile to none of it
    insertion: Floats  # (steps + 1, N), from none of it to the whole tile

    @property
    def areas(self) -> tuple[Floats, Floats]:
        """Below the curve of deletion and of insertion: (N,) each, from 0 to 1."""
        width = 1 / (len(self.deletion) - 1)
        both = np.stack([self.deletion, self.insertion])
        deleted, inserted = np.asarray(np.trapezoid(both, dx=width, axis=1))
        return deleted, inserted

    @property
    def scores(self) -> Floats:
        """Insertion less deletion (N,); 0 is what a random order gives."""
        deleted, inserted = self.areas
        return inserted - deleted


@dataclass(frozen=True)
class Trust:
    """What is known of a method on a network."""

    method: Method
    sanity: Sanity
    removal: Removal

    @property
    def interval(self) -> tuple[float, float]:
        """The mean score's 95 % interval over tiles, by Student's t."""
        return mean_interval(self.removal.scores)

    @property
    def verdict(self) -> str:
        """How far to believe it, in a sentence."""
        low, _ = self.interval
        score = float(self.removal.scores.mean())
        order = "better than chance does" if low > 0 else "no better than chance does"
        if self.sanity.left >= UNCHANGED:
            heard = "hardly changes when all weights are random: it shows the tile, not the network"
        elif self.sanity.headless >= UNCHANGED:
            heard = (
                "hardly changes when the upper layers are random: it shows what the lower ones "
                "notice, not what tells the class"
            )
        elif max(self.sanity.left, self.sanity.headless) >= PARTLY:
            heard = "keeps some of its pattern when weights are random: believe rough places only"
        else:
            heard = "follows what was learned"
        return (
            f"{named(self.method)} {heard} (rank correlation {self.sanity.headless:.2f}, then "
            f"{self.sanity.left:.2f}); it ranks patches {order} ({score:+.2f})."
        )


def named(method: Method) -> str:
    """What a person calls a method."""
    return NAMES[method]


def mean_interval(values: Floats) -> tuple[float, float]:
    """95 % interval of a mean by Student's t; nan of fewer than two values."""
    from scipy import stats

    if len(values) < 2:
        return math.nan, math.nan
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)


def sanity(
    network: nn.Module,
    pixels: NDArray[Any],
    targets: NDArray[Any],
    method: Method,
    maps: NDArray[Any],
    seed: int = 0,
) -> Sanity:
    """Rank the trained network's maps (N, H, W, .) against those of networks that forget."""
    shares, found = [], []
    for share, forgetful in cascade(network, seed):
        again = attribute(forgetful, pixels, targets, method)
        shares.append(share)
        found.append(rank_correlation(np.abs(maps).sum(-1), np.abs(again).sum(-1)))
    return Sanity(tuple(shares), np.stack(found))


def cascade(
    network: nn.Module, seed: int, levels: int = LEVELS
) -> Iterator[tuple[float, nn.Module]]:
    """Copies of a network with more and more layers drawn anew, from the head downwards.

    Yields:
        The share of layers with weights that were drawn, and the network; the last has none left.
    """
    names = [name for name, module in network.named_modules() if _learned(module)][::-1]
    ends = sorted({max(1, round(len(names) * i / levels)) for i in range(1, levels + 1)})
    for end in ends:
        forgetful = copy.deepcopy(network)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(seed)
            for name in names[:end]:
                _forget(forgetful.get_submodule(name))
        yield end / len(names), forgetful


def _learned(module: nn.Module) -> bool:
    """Whether weights lie in the module itself; what Normalize holds was measured, not learned."""
    own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    return bool(own) and not isinstance(module, Normalize)


def _forget(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()
        return
    for parameter in module.parameters(recurse=False):  # drawn from its own values
        shuffled = parameter.flatten()[torch.randperm(parameter.numel()).to(parameter.device)]
        parameter.copy_(shuffled.view_as(parameter))


def rank_correlation(first: NDArray[Any], second: NDArray[Any]) -> Floats:
    """Spearman's correlation (N,) of maps (N, H, W), tile by tile; a flat map is like none: 0."""
    from scipy.stats import rankdata

    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    spread = np.prod([np.sqrt(np.square(c).sum(axis=1)) for c in centred], axis=0)
    both = (centred[0] * centred[1]).sum(axis=1)
    return np.asarray(np.divide(both, spread, out=np.zeros_like(both), where=spread > 0))


def removal(
    network: nn.Module, pixels: NDArray[Any], targets: NDArray[Any], scores: NDArray[Any]
) -> Removal:
    """Take patches away, and put them back, in the order of scores (N, H, W), the highest first.

    Patches, not pixels: single pixels set to the mean make a speckle that no tile has, to which
    networks answer wildly.
    """
    subject = Subject.of(network, pixels.shape[-1])
    x = subject.tensor(pixels)
    chosen = torch.as_tensor(np.asarray(targets, np.int64), device=x.device)
    ranks = patch_ranks(torch.as_tensor(np.ascontiguousarray(scores), device=x.device), WINDOWS)
    count = int(ranks.max()) + 1
    curves: list[list[Any]] = [[], []]
    for removed in range(count + 1):
        gone = ranks < removed  # (N, 1, H, W)
        for curve, hidden in zip(curves, (gone, ~gone), strict=True):
            shown = torch.where(hidden, subject.mean, x)
            curve.append(subject.probabilities(shown, chosen).double().cpu().numpy())
    return Removal(np.stack(curves[0]), np.stack(curves[1]))


def patch_ranks(scores: torch.Tensor, most: int) -> torch.Tensor:
    """Rank of the patch that each pixel lies in, 0 the highest: (N, 1, H, W) of (N, H, W).

    Up to ``most`` patches a side, as even as they can be. Of equal ones the upper left is first.
    """
    side = min(most, *scores.shape[1:])
    means = F.adaptive_avg_pool2d(scores[:, None], side).flatten(1)
    order = means.argsort(dim=1, descending=True, stable=True)
    ranks = torch.empty_like(order)
    ranks.scatter_(1, order, torch.arange(side * side, device=order.device).expand_as(order))
    grid = ranks.view(-1, 1, side, side).float()
    return F.interpolate(grid, scores.shape[1:], mode="nearest")


def random_removal(
    network: nn.Module, pixels: NDArray[Any], targets: NDArray[Any], seed: int = 0
) -> Removal:
    """The same in a random order."""
    scores = np.random.default_rng(seed).random(pixels.shape[:3])
    return removal(network, pixels, targets, scores.astype(np.float32))


def measured(
    network: nn.Module,
    pixels: NDArray[Any],
    targets: NDArray[Any],
    method: Method,
    maps: NDArray[Any],
    seed: int = 0,
) -> Trust:
    """Both tests of a method's maps on some tiles; sanity, which costs most, on each second."""
    half = slice(None, None, 2)
    return Trust(
        method,
        sanity(network, pixels[half], targets[half], method, maps[half], seed),
        removal(network, pixels, targets, importance(maps, method)),
    )
