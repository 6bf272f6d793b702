"""Which bands reach which layer: what lets first-layer weights move by the names of the bands."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from torch import Tensor, nn

from pipeline.composites import Chain, Dense, Parallel, Residual
from pipeline.layers import Normalize, SpectralIndices
from pipeline.network import Network
from pipeline.pretrained import origin

# Modules of torch.nn whose layers treat each channel by itself and leave their order alone.
KEEPING = ("activation", "batchnorm", "dropout", "instancenorm", "padding", "pooling", "upsampling")

# Between the two bands of a spectral index: as no band may be called.
INDEX = " over "

Channels = tuple[str, ...]


class Seen(NamedTuple):
    """How a layer meets the bands."""

    channels: Channels  # names, in order: bands, and indices as 'nir over red'
    axis: int  # of its weights, along which they lie: 1 sums over the bands, 0 keeps them apart


def seen(network: Network) -> dict[str, Seen]:
    """Dotted name -> bands, of the layers with weights that the bands reach unmixed."""
    found: dict[str, Seen] = {}
    _walk("", network, network.bands.names, found)
    return found


def _walk(
    name: str, module: nn.Module, channels: Channels | None, found: dict[str, Seen]
) -> Channels | None:
    """Names of the channels behind a layer; None: they are mixed."""
    if channels is None:
        return None
    inside = [(f"{name}.{key}" if name else key, layer) for key, layer in module.named_children()]
    after: Channels | None = channels
    if isinstance(module, Parallel):
        return _joined([_walk(key, layer, channels, found) for key, layer in inside], module.join)
    if isinstance(module, Residual):
        shortcut = after
        for key, layer in inside:
            if key.endswith(".projection"):
                shortcut = _walk(key, layer, channels, found)
            else:
                after = _walk(key, layer, after, found)
        return after if after == shortcut else None
    if isinstance(module, Dense):
        for key, layer in inside:
            after = _joined([after, _walk(key, layer, after, found)], "concat")
        return after
    if isinstance(module, Chain):
        for key, layer in inside:
            after = _walk(key, layer, after, found)
        return after
    return _leaf(name, module, channels, found)


def _joined(branches: list[Channels | None], join: str) -> Channels | None:
    known = [branch for branch in branches if branch is not None]
    if len(known) < len(branches):
        return None
    if join == "concat":
        return tuple(channel for branch in known for channel in branch)
    return known[0] if len(set(known)) == 1 else None


def _leaf(
    name: str, module: nn.Module, channels: Channels, found: dict[str, Seen]
) -> Channels | None:
    """The same for a layer that holds no others."""
    if isinstance(module, SpectralIndices):
        pairs = zip(module.over, module.under, strict=True)
        return channels + tuple(f"{channels[a]}{INDEX}{channels[b]}" for a, b in pairs)
    if isinstance(module, nn.Conv2d) and 1 < module.groups == module.in_channels:
        found[name] = Seen(channels, 0)
        each = module.out_channels // module.in_channels
        return tuple(channel for channel in channels for _ in range(each))
    if isinstance(module, nn.Conv2d | nn.Linear):
        if not isinstance(module, nn.Conv2d) or module.groups == 1:
            found[name] = Seen(channels, 1)
        return None
    if (model := origin(module)) is not None:
        found |= {f"{name}.{first}": Seen(channels, 1) for first in model.first}
        return None
    kind = type(module).__module__.rpartition(".")[2]
    keeps = kind in KEEPING or isinstance(module, Normalize | nn.Flatten | nn.Identity)
    keeps = keeps or type(module).__name__.startswith("Global")
    if kind == "batchnorm":
        found[name] = Seen(channels, 0)
    return channels if keeps else None


def rebanded(mine: Tensor, theirs: Tensor, here: Seen, there: Seen, by_name: bool) -> Tensor | None:
    """A donor's weights over the bands of another network; None: the shapes don't match.

    Where a layer sums over its bands, weights are scaled by the number of the donor's bands over
    the number here, as Carreira and Zisserman 2017 (I3D) do for repeated frames. A tile that is
    alike in all bands then gets a response of the size that later layers expect: the donor's own,
    where none of the donor's bands is missing.

    Args:
        mine: What the other network drew; a spectral index that the donor lacks keeps it.
        theirs: The donor's.
        here: The bands of the other network's layer.
        there: The bands of the donor's.
        by_name: Whether a band takes the donor's of its name, and only an unknown one the mean.
    """
    axis = here.axis
    if axis != there.axis or theirs.shape[axis] % len(there.channels):
        return None
    new, old = _by_channel(mine, here).clone(), _by_channel(theirs, there)
    if new.shape[1:] != old.shape[1:]:
        return None
    scale = _bands(there) / _bands(here) if axis == 1 else 1.0
    mean = old[[i for i, name in enumerate(there.channels) if not _is_index(name)]].mean(0)
    places = {channel: i for i, channel in enumerate(_numbered(there.channels))}
    for i, channel in enumerate(_numbered(here.channels)):
        place = places.get(channel)
        if not _is_index(channel[0]):
            new[i] = (mean if place is None or not by_name else old[place]) * scale
        elif place is not None:  # an index is none of the bands, and moves as it is
            new[i] = old[place]
    return new.movedim(0, axis).flatten(axis, axis + 1)


def _by_channel(weights: Tensor, layer: Seen) -> Tensor:
    """The channels in front, what belongs to one of them behind: positions, after a flattening."""
    axis, shape = layer.axis, weights.shape
    split = (*shape[:axis], len(layer.channels), -1, *shape[axis + 1 :])
    return weights.reshape(split).movedim(axis, 0)


def _bands(layer: Seen) -> int:
    return len({name for name in layer.channels if not _is_index(name)})


def _is_index(channel: str) -> bool:
    return INDEX in channel


def _numbered(channels: Iterable[str]) -> list[tuple[str, int]]:
    """Names with how often each came before: branches and depthwise layers repeat them."""
    count: Counter[str] = Counter()
    numbered = []
    for channel in channels:
        numbered.append((channel, count[channel]))
        count[channel] += 1
    return numbered
