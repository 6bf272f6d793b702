"""The network for the page's scripts: its steps, its weights, and what they can't compute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import probes
from pipeline.page.arrays import levels, packed
from pipeline.page.program import MACS, WEIGHTS, Step, program

if TYPE_CHECKING:
    from pipeline.network import Network

STORED = 4_000_000  # bytes of outputs that come with the page


def payload(
    network: Network,
    pixels: NDArray[Any],
    *,
    temperature: float,
    first: Sequence[int] = (),
    weights: int = WEIGHTS,
    macs: float = MACS,
) -> dict[str, Any]:
    """Steps, weights and stored outputs.

    Args:
        network: In evaluation mode.
        pixels: Tiles (N, H, W, C) of the album.
        temperature: That its logits are divided by.
        first: Tiles of the album that come first where there is no room for all.
        weights: Numbers that a page holds.
        macs: Multiply-accumulates of a tile that a script is asked for.
    """
    steps = program(network, weights, macs)
    heavy = [i for i, step in enumerate(steps) if step.op == "stored"]
    each = sum(2 * int(np.prod(steps[i].shape)) for i in heavy)
    room = len(pixels) if not each else STORED // each
    if not room or not len(pixels):
        size = f"{each / 2**20:.1f} MiB a tile" if each else "no tile"
        return {"note": f"The outputs of its layers take more than a page should hold: {size}."}
    order = list(dict.fromkeys([*first, *range(len(pixels))]))[:room]
    return {
        "steps": _steps(network, steps),
        "weights": packed(_numbers(steps)),
        "stored": _stored(network, steps, heavy, pixels[order] if heavy else pixels[:0], order),
        "temperature": temperature,
        "draws": network.task == "reconstruct",
    }


def _numbers(steps: Sequence[Step]) -> NDArray[np.float32]:
    arrays = [array.ravel() for step in steps for array in step.arrays.values()]
    return np.concatenate([np.zeros(0, np.float32), *arrays])


def _steps(network: Network, steps: Sequence[Step]) -> list[dict[str, Any]]:
    """Steps as JSON: each array as where it begins among all weights, and its shape."""
    from pipeline.analysis import describe
    from pipeline.diagram.layout import kind_of

    infos = {info.name: info for info in describe(network, composites=True)}
    start, out = 0, []
    for step in steps:
        places = {}
        for name, array in step.arrays.items():
            places[name] = [start, list(array.shape)]
            start += array.size
        info = infos.get(step.name)
        module = None if step.inner else network.get_submodule(step.name)
        out.append({
            **step.facts,
            "name": step.name,
            "op": step.op,
            "inputs": list(step.inputs),
            "shape": list(step.shape),
            "arrays": places,
            "inner": step.inner,
            "kind": "other" if module is None else kind_of(module),
            "type": f"{info.type} {info.settings}".strip() if info and module else "joins",
        })  # fmt: skip
    return out


def _stored(
    network: Network,
    steps: Sequence[Step],
    heavy: Sequence[int],
    pixels: NDArray[Any],
    tiles: Sequence[int],
) -> dict[str, Any]:
    """Outputs of the layers that are stored, in levels of 16 bits tile by tile."""
    if not heavy:
        return {"tiles": [], "layers": {}}
    heard = probes.activations(network, pixels, [steps[i].name for i in heavy])
    layers = {}
    for i in heavy:
        found = [levels(one) for one in heard[steps[i].name]]
        layers[str(i)] = {
            "levels": packed(np.stack([one for one, _, _ in found])),
            "low": [low for _, low, _ in found],
            "step": [step for _, _, step in found],
        }
    return {"tiles": [int(tile) for tile in tiles], "layers": layers}
