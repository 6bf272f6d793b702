"""From a network to the pieces of its diagram, each in its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from pipeline.analysis import LayerInfo, describe
from pipeline.composites import Composite, Dense, Parallel, Residual
from pipeline.diagram.blocks import (
    GAP,
    Block,
    Item,
    Wire,
    box,
    branched,
    bypassed,
    framed,
    moved,
    stacked,
)
from pipeline.layers import GlobalAvgPool, GlobalMaxPool, Normalize
from pipeline.network import Network
from pipeline.wording import ACTIVATIONS, CONVOLUTIONS, NORMS, SOFTMAX, sizes, told

GUTTER = 44.0  # between columns
TALL, WIDE = 760.0, 1160.0  # of a picture that a page shows well

# The kinds of layers that differ by colour, in the order of the legend.
KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "convolution": CONVOLUTIONS,
    "pooling": (
        nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.LPPool2d, nn.Upsample,
        nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, GlobalAvgPool, GlobalMaxPool,
    ),
    "normalization": (Normalize, *NORMS),
    "activation": (*ACTIVATIONS, *SOFTMAX),
    "linear": (nn.Linear,),
}  # fmt: skip
OTHER = "other"


def kind_of(module: nn.Module) -> str:
    """The kind of a layer."""
    found = (kind for kind, types in KINDS.items() if isinstance(module, types))
    return next(found, OTHER)


def arrange(network: Network) -> Block:
    """The whole diagram; a long chain goes on in a further column."""
    infos = {info.name: info for info in describe(network, composites=True)}
    bands = ", ".join(network.bands) if len(network.bands) < 6 else f"{len(network.bands)} bands"
    blocks = [box("tile", sizes(network.input_shape), bands, OTHER)]
    blocks += [_block(name, module, infos) for name, module in network.named_children()]
    return _columns(_divided(blocks))


def _block(path: str, module: nn.Module, infos: Mapping[str, LayerInfo]) -> Block:
    """A layer with all that is inside it."""
    info = infos[path]
    name, size = path.rpartition(".")[2], sizes(info.output)
    if not isinstance(module, Composite):
        hint = f"{path}: sees {info.field} px"
        if info.parameters:
            hint += f"; {told(info.learnables)}; {info.parameters:,} learnables"
        kind = f"{info.type} {info.settings}".strip()
        return box(name, size, kind, kind_of(module), hint, path)
    inside = {key: _block(f"{path}.{key}", part, infos) for key, part in module.named_children()}
    return framed(_wired(module, inside), name, size, info.type, path)


def _wired(module: Composite, inside: Mapping[str, Block]) -> Block:
    """The layers inside a composite as it joins them."""
    blocks = [block for key, block in inside.items() if key != "projection"]
    if isinstance(module, Parallel):
        return branched(list(inside.values()), "concat" if module.join == "concat" else "+")
    if isinstance(module, Residual):
        return bypassed(stacked(blocks), "+", inside.get("projection"))
    if isinstance(module, Dense):
        return stacked([bypassed(block, "concat") for block in inside.values()])
    return stacked(list(inside.values()))


def _divided(blocks: Sequence[Block]) -> list[list[Block]]:
    """A chain in as few columns as fit a page, the longest as short as may be."""
    best: list[list[Block]] = [list(blocks)]
    for count in range(2, 7):
        if _height(best) <= TALL:
            break
        columns = _in_columns(blocks, count)
        if _width(columns) > WIDE:
            break
        best = columns
    return best


def _in_columns(blocks: Sequence[Block], count: int) -> list[list[Block]]:
    limit = max(block.height for block in blocks)
    while True:
        columns: list[list[Block]] = [[]]
        for block in blocks:
            if columns[-1] and _height([[*columns[-1], block]]) > limit:
                columns.append([])
            columns[-1].append(block)
        if len(columns) <= count:
            return columns
        limit += GAP


def _height(columns: Sequence[Sequence[Block]]) -> float:
    # As stacked would say, which is slow for so many tries.
    return max(sum(block.height + GAP for block in column) - GAP for column in columns)


def _width(columns: Sequence[Sequence[Block]]) -> float:
    return sum(stacked(column).width + GUTTER for column in columns) - GUTTER


def _columns(columns: Sequence[Sequence[Block]]) -> Block:
    """Columns side by side, the end of each led to the top of the next."""
    items: list[Item] = []
    x, height = 0.0, _height(columns) + (GAP if len(columns) > 1 else 0)
    end: tuple[float, float] | None = None
    top = GAP if len(columns) > 1 else 0.0
    for column in columns:
        block = stacked(column)
        if end is not None:
            lane, enter = x - GUTTER / 2, x + block.axis
            turns = ((end[0], height + top), (lane, height + top), (lane, 0), (enter, 0))
            items.append(Wire((end, *turns, (enter, top))))
        items += moved(block.items, x, top)
        end = (x + block.axis, top + block.height)
        x += block.width + GUTTER
    return Block(x - GUTTER, height + top, 0, tuple(items))
