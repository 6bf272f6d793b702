"""What in a tile speaks for a class: five questions, each answered by a map of the tile.

Maps are channel last, as tiles are, and signed: above zero speaks for the class. Each method works
on a copy of the network, so that no hook and no gradient ever stays behind on the one looked at.

saliency: gradient of the output (Simonyan et al. 2014). integrated_gradients: gradients along the
way from the mean tile, times that way (Sundararajan et al. 2017). occlusion: what the output loses
when a square of a band is hidden (Zeiler & Fergus 2014). grad_cam: maps of the last convolution,
weighed by their gradients (Selvaraju et al. 2017). guided_backprop: the gradient, without what is
negative at a ReLU (Springenberg et al. 2015).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.errors import ConfigError, NetworkError
from pipeline.steps import last_map
from pipeline.subjects import PASSES, Subject

Floats = NDArray[np.float32]
Method = Literal[
    "saliency", "integrated_gradients", "occlusion", "grad_cam", "guided_backprop"
]  # fmt: skip
METHODS: tuple[Method, ...] = get_args(Method)
STEPS = 32  # of the way that gradients are integrated over
WINDOWS = 7  # squares along a side that are hidden by turns, about
TILES = 32  # that are looked at at a time


def attribute(
    network: nn.Module, pixels: NDArray[Any], targets: NDArray[Any], method: Method
) -> Floats:
    """What speaks for a class, pixel by pixel.

    Args:
        network: Raw tiles (N, C, H, W) -> outputs (N, K); it is left as it is. Of one that
            reconstructs its tile, the output is the reconstruction's mean squared error.
        pixels: (N, H, W, C) raw values.
        targets: (N,) class of each tile; 0 for a network that reconstructs.
        method: One of ``METHODS``.

    Returns:
        (N, H, W, C), of grad_cam (N, H, W, 1), which knows no bands. Integrated gradients and
        occlusion are in units of the output; gradients are per unit of the normalized tile, so
        that bands can be compared.

    Raises:
        ConfigError: An unknown method.
        NetworkError: The network has no layer that the method needs, or no such output.
    """
    if method not in METHODS:
        raise ConfigError(f"Expected one of {', '.join(METHODS)}, got {method!r}.")
    subject = Subject.of(network, pixels.shape[-1])
    ways: dict[Method, Callable[[Subject, Tensor, Tensor], Tensor]] = {
        "saliency": _saliency,
        "integrated_gradients": _integrated,
        "occlusion": _occlusion,
        "grad_cam": _grad_cam,
        "guided_backprop": _guided,
    }
    parts = [np.zeros((0, *pixels.shape[1:-1], 1 if method == "grad_cam" else pixels.shape[-1]),
                      np.float32)]  # fmt: skip
    for start in range(0, len(pixels), TILES):
        x = subject.tensor(pixels[start : start + TILES])
        chosen = torch.as_tensor(np.asarray(targets[start : start + TILES], np.int64))
        _check_targets(subject, x[:1], chosen)
        maps = ways[method](subject, x, chosen.to(x.device))
        parts.append(maps.detach().permute(0, 2, 3, 1).float().cpu().numpy())
    return np.concatenate(parts)


def fitting(network: nn.Module, pixels: NDArray[Any]) -> dict[Method, str]:
    """The methods that say something of a network; for each the reason why not, or nothing."""
    reasons: dict[Method, str] = dict.fromkeys(METHODS, "")
    try:
        last_map(network, pixels)
    except NetworkError as error:
        reasons["grad_cam"] = str(error)
    if not any(isinstance(module, nn.ReLU) for module in network.modules()):
        reasons["guided_backprop"] = "Without a ReLU guided_backprop is the saliency."
    return reasons


def completeness(
    network: nn.Module, pixels: NDArray[Any], targets: NDArray[Any], maps: Floats
) -> Floats:
    """How far maps are from summing up to the output less that of the mean tile: (N,), relative.

    Integrated gradients would, with infinitely many steps.
    """
    subject = Subject.of(network, pixels.shape[-1])
    x = subject.tensor(pixels)
    chosen = torch.as_tensor(np.asarray(targets, np.int64), device=x.device)[:, None]
    rise = (
        subject.outputs(x).gather(1, chosen)
        - subject.outputs(subject.mean.expand(1, -1, *x.shape[2:]))[0, chosen]
    )
    apart = rise[:, 0].cpu().numpy() - maps.sum(axis=(1, 2, 3))
    errors: Floats = np.abs(apart) / np.maximum(np.abs(rise[:, 0].cpu().numpy()), 1e-6)
    return errors


def band_shares(maps: Floats) -> Floats:
    """Share (N, C) of each band in the magnitudes of maps (N, H, W, C)."""
    sums = np.abs(maps).sum(axis=(1, 2))
    shares: Floats = sums / np.maximum(sums.sum(axis=1, keepdims=True), 1e-12)
    return shares


def without_bands(network: nn.Module, pixels: NDArray[Any], targets: NDArray[Any]) -> Floats:
    """What a class's probability loses when a whole band is set to its mean: (N, C)."""
    subject = Subject.of(network, pixels.shape[-1])
    x = subject.tensor(pixels)
    chosen = torch.as_tensor(np.asarray(targets, np.int64), device=x.device)
    whole = subject.probabilities(x, chosen)
    lost = []
    for band in range(x.shape[1]):
        hidden = x.clone()
        hidden[:, band] = subject.mean[0, band]
        lost.append(whole - subject.probabilities(hidden, chosen))
    return torch.stack(lost, dim=1).cpu().numpy()


def _check_targets(subject: Subject, x: Tensor, targets: Tensor) -> None:
    classes = subject.outputs(x).shape[1]
    if len(wrong := targets[(targets < 0) | (targets >= classes)]):
        raise NetworkError(
            f"Expected targets from 0 to {classes - 1}, one of the network's outputs, got "
            f"{int(wrong[0])}."
        )


def _saliency(subject: Subject, x: Tensor, targets: Tensor) -> Tensor:
    from captum.attr import Saliency

    maps: Tensor = Saliency(subject.network).attribute(x.requires_grad_(), targets, abs=False)
    return maps * subject.deviation


def _integrated(subject: Subject, x: Tensor, targets: Tensor) -> Tensor:
    from captum.attr import IntegratedGradients

    mean = subject.mean.expand(1, -1, *x.shape[2:])
    maps: Tensor = IntegratedGradients(subject.network).attribute(
        x, mean, targets, n_steps=STEPS, internal_batch_size=max(PASSES, len(x))
    )
    return maps


def _occlusion(subject: Subject, x: Tensor, targets: Tensor) -> Tensor:
    from captum.attr import Occlusion

    side = max(1, round(x.shape[-1] / WINDOWS))
    mean = subject.mean.expand(1, -1, *x.shape[2:])
    with torch.no_grad():
        maps: Tensor = Occlusion(subject.network).attribute(
            x,
            (1, side, side),
            (1, side, side),  # side by side: each value is one exact difference
            mean,
            targets,
            perturbations_per_eval=max(1, PASSES // len(x)),
        )
    return maps


def _grad_cam(subject: Subject, x: Tensor, targets: Tensor) -> Tensor:
    from captum.attr import LayerGradCam

    pixels = x[:1].permute(0, 2, 3, 1).cpu().numpy()
    layer = subject.network.get_submodule(last_map(subject.network, pixels))
    maps = LayerGradCam(subject.network, layer).attribute(
        x.requires_grad_(), targets, relu_attributions=True
    )
    return F.interpolate(maps, x.shape[2:], mode="bilinear", align_corners=False)


def _guided(subject: Subject, x: Tensor, targets: Tensor) -> Tensor:
    from captum.attr import GuidedBackprop

    with warnings.catch_warnings():
        # It says that it sets hooks and removes them; they are on a copy.
        warnings.filterwarnings("ignore", message="Setting backward hooks")
        maps: Tensor = GuidedBackprop(subject.network).attribute(x.requires_grad_(), targets)
    return maps * subject.deviation
