"""What is wrong or doubtful about a network, by layer name, with the arithmetic and the lesson.

Nothing here keeps a network from being trained; what can't be built at all is refused by
``pipeline.network``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import nn

from pipeline.analysis import LayerInfo, describe, layers, parts
from pipeline.composites import Chain, Composite, Residual
from pipeline.layers import Normalize, SpectralIndices
from pipeline.network import Network, geometry
from pipeline.silence import TILES, first_silent
from pipeline.strides import Misfit, misfit
from pipeline.wording import ACTIVATIONS, BATCH_NORMS, CONVOLUTIONS, SOFTMAX

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")

UNLIMITED = (nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.Softshrink, nn.Hardshrink, nn.Tanhshrink)
POOLINGS = (nn.MaxPool2d, nn.AvgPool2d, nn.LPPool2d)
HEAVY = 0.9  # share of the parameters in one linear layer
WIDE = 3  # times the tile, beyond which a network is deeper than its tile is wide
NARROW = 0.5  # share of the tile that a position of the last map should see


@dataclass(frozen=True)
class Finding:
    """Something about a layer that its designer should know."""

    layer: str  # dotted
    kind: str
    level: Level
    text: str

    def sentence(self) -> str:
        """The finding as it is printed."""
        return f"layer {self.layer!r}: {self.text}"


def inspect(
    network: Network,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    strict: bool = False,
) -> list[Finding]:
    """All findings, the worst first, and those of a level in the order of the layers.

    Args:
        network: Any network; left as it was.
        mean: (C,) of each band over the training tiles.
        std: (C,) deviations.
        strict: A stride that loses rows or columns of its input is an error.
    """
    infos = describe(network)
    found = [
        *strides(network, infos, strict),
        *fields(network, infos),
        *inputs(network),
        *softmaxes(network),
        *endings(network),
        *norms(network),
        *heavy(infos),
        *constants(network, mean, std),
    ]
    place = {name: number for number, (name, _) in enumerate(layers(network))}
    return sorted(found, key=lambda one: (LEVELS.index(one.level), place[one.layer]))


def strides(network: nn.Module, infos: Sequence[LayerInfo], strict: bool) -> Iterator[Finding]:
    """Strides that leave rows or columns over."""
    modules = dict(parts(network))
    for info in infos:
        module = modules[info.name]
        sliding = isinstance(module, POOLINGS) or type(module) is nn.Conv2d
        if not sliding or len(info.input) != 3:
            continue
        limit = _padding_limit(module)
        found = [
            misfit(info.input[1 + axis], info.output[1 + axis], *geometry(module, axis), limit)
            for axis in (0, 1)
        ]
        if text := _misfits(found, ceil=isinstance(module, nn.MaxPool2d | nn.AvgPool2d)):
            lost = any(one is not None and one.lost for one in found)
            level: Level = "note" if not lost else "error" if strict else "warning"
            yield Finding(info.name, "stride", level, text)


def _padding_limit(module: nn.Module) -> int:
    """Largest padding to suggest: torch pads a pooling by half its kernel at most."""
    kernels = [geometry(module, axis) for axis in (0, 1)]
    if isinstance(module, nn.LPPool2d):
        return 0
    if isinstance(module, POOLINGS):
        return min(kernel // 2 for kernel, *_ in kernels)
    return min(dilation * (kernel - 1) for kernel, _, _, dilation in kernels)


def _misfits(found: Sequence[Misfit | None], *, ceil: bool) -> str:
    down, across = found
    if down is None and across is None:
        return ""
    if down == across and down is not None:
        text = down.text("rows", "columns")
    else:
        told = zip(found, ("rows", "columns"), strict=True)
        text = " ".join(one.text(what) for one, what in told if one is not None)
    if ceil and any(one is not None and one.lost for one in found):
        text += " ceil_mode: true would keep them, in a window that is cut off."
    if any(one is not None and one.lost for one in found):
        text += " What no window covers, the network can't learn from."
    return text


def fields(network: Network, infos: Sequence[LayerInfo]) -> Iterator[Finding]:
    """What a position of the last map sees, against the tile."""
    modules = dict(layers(network))
    last = _last_map(network)
    if last is None or not any(isinstance(modules[info.name], CONVOLUTIONS) for info in infos):
        return
    tile, reach = network.tile_size, last.reach
    if reach > tile:
        first = next(info for info in infos if info.reach > tile)
        yield Finding(
            first.name,
            "field-large",
            "warning" if reach > WIDE * tile else "note",
            f"sees {first.reach} px, more than the tile of {tile} px, and {last.name!r}, the last "
            f"map, {reach} px: positions in the middle see the whole tile, and what they see "
            "beyond it is padding. Layers from here on add depth, but no context.",
        )
    if reach < NARROW * tile:
        yield Finding(
            last.name,
            "field-small",
            "warning",
            f"is the last map, and each of its positions sees {reach} of the tile's {tile} px "
            f"({reach / tile:.0%}). Larger shapes are known to the layers behind it only as a sum "
            "of their parts: a further convolution or pooling before it widens the view.",
        )


def _last_map(network: Network) -> LayerInfo | None:
    """The layer before the first that flattens its map or pools it to one position.

    Where that is the last part of a composite, such as a branch, it is the composite.
    """
    infos = {info.name: info for info in describe(network, composites=True)}
    single = [info for info in infos.values() if not info.composite]
    for before, info in pairwise(single):
        if len(before.output) == 3 and (len(info.output) == 1 or info.output[1:] == (1, 1)):
            path, behind = before.name.split("."), info.name.split(".")
            same = [one == two for one, two in zip(path, behind, strict=False)]
            return infos[".".join(path[: same.index(False) + 1])]
    return None


def inputs(network: Network) -> Iterator[Finding]:
    """Raw values where normalized ones are expected, and the other way round."""
    line = parts(network)
    normalized = [place for place, (_, layer) in enumerate(line) if isinstance(layer, Normalize)]
    for place, (name, layer) in enumerate(line):
        if isinstance(layer, SpectralIndices) and normalized and normalized[0] < place:
            yield Finding(
                name,
                "indices-late",
                "warning",
                "stands behind Normalize, but a ratio of bands means something only on raw "
                "values: around 0 it may be any number. Put it first.",
            )
    if not normalized and line:
        yield Finding(
            line[0][0],
            "raw-input",
            "warning",
            "sees raw pixel values: no Normalize stands before it. Values of 0 to 255, let alone "
            "65535, make the first gradients as large. Begin with pipeline.layers.Normalize.",
        )


def softmaxes(network: Network) -> Iterator[Finding]:
    """Softmax among the layers: the loss and the prediction apply it by themselves."""
    for name, module in parts(network):
        if isinstance(module, SOFTMAX):
            yield Finding(
                name,
                "softmax",
                "warning",
                f"{type(module).__name__} stands inside the network. It belongs behind the logits, "
                "where loss and prediction apply it by themselves; twice over, or between layers, "
                "it all but silences the gradients. Drop it.",
            )


def endings(network: Network) -> Iterator[Finding]:
    """An activation behind the last layer that learns: it limits what the network can answer."""
    what = "logits" if network.task == "classify" else "normalized pixels"
    for name, module in reversed(_line(network)):
        if isinstance(module, ACTIVATIONS) and not isinstance(module, UNLIMITED):
            yield Finding(
                name,
                "ending",
                "warning",
                f"{type(module).__name__} stands behind the last layer that learns and limits what "
                f"the network can give, but {what} may be any number. Drop it.",
            )
        elif isinstance(module, Composite) or any(True for _ in module.parameters()):
            return


def _line(chain: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Layers that follow one another, without what is inside branches and blocks."""
    found = []
    for name, module in chain.named_children():
        if isinstance(module, Chain):
            found += _line(module, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", module))
    return found


def norms(network: nn.Module) -> Iterator[Finding]:
    """Batch norm right behind an activation of the same chain."""
    for prefix, chain in [("", network), *((f"{n}.", m) for n, m in layers(network))]:
        if not isinstance(chain, Chain | Residual):
            continue  # branches do not follow one another
        inside = [(k, m) for k, m in chain.named_children() if k != "projection"]
        for (_, before), (key, module) in pairwise(inside):
            if isinstance(before, ACTIVATIONS) and isinstance(module, BATCH_NORMS):
                yield Finding(
                    f"{prefix}{key}",
                    "norm-order",
                    "warning",
                    f"{type(module).__name__} stands behind {type(before).__name__}. Put it "
                    "before: there it centres what the activation then bends around 0 (Ioffe and "
                    "Szegedy 2015).",
                )


def heavy(infos: Sequence[LayerInfo]) -> Iterator[Finding]:
    """A linear layer that holds nearly all parameters."""
    total = sum(info.parameters for info in infos)
    if sum(info.parameters > 0 for info in infos) < 2:
        return  # there is no other to hold any
    for info in infos:
        if info.type == "Linear" and info.parameters > HEAVY * total:
            yield Finding(
                info.name,
                "heavy-linear",
                "warning",
                f"holds {info.parameters:,} of {total:,} parameters "
                f"({info.parameters / total:.1%}): {info.input[0]:,} inputs x {info.output[0]:,} "
                "outputs, a weight for each place of the map. Such a layer tends to learn the "
                "training tiles by heart; more pooling before it, or GlobalAvgPool, needs fewer.",
            )


def constants(network: Network, mean: Sequence[float], std: Sequence[float]) -> Iterator[Finding]:
    """The first layer that gives the same for every tile, or what is no number."""
    found = first_silent(network, mean, std)
    if found is None:
        return
    kind = type(network.get_submodule(found.layer)).__name__
    when = "in training" if found.training else "when predicting"
    if found.finite:
        text = (
            f"{kind} gives the same for {TILES} different random tiles, {when}. What lies behind "
            "can't tell tiles apart, and no gradient comes back through it."
        )
    else:
        text = (
            f"{kind} gives values that are no finite number for random tiles, {when}. From there "
            "on nothing can be learned: look at the scale of what reaches it."
        )
    yield Finding(found.layer, "constant", "warning", text)
