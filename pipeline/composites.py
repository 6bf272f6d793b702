"""Layers made of layers: chains, shortcuts, branches, dense blocks.

A composite holds named layers; ``forward`` alone says how they are wired. While a network is built,
``grow`` runs it once on a blank tile, with layers that take their sizes from what arrives.
"""

from __future__ import annotations

from functools import reduce
from typing import Literal

import torch
from torch import Tensor, nn

from pipeline.errors import NetworkError


class Composite(nn.Module):
    """Named layers inside a layer."""

    def grow(self, x: Tensor) -> Tensor:
        """First run, on a blank tile: the layers inside build themselves from what they get."""
        out: Tensor = self(x)
        return out


class Chain(Composite):
    """Layers one after the other; a mapping of layers without a ``_target_`` is one."""

    def forward(self, x: Tensor) -> Tensor:
        """Pass the tile from layer to layer."""
        for layer in self.children():
            x = layer(x)
        return x


class DepthwiseSeparable(Chain):
    """A convolution in two cheap steps (Howard et al. 2017, MobileNets; Chollet 2017, Xception).

    ``depthwise`` looks at each channel by itself, ``pointwise`` mixes the channels at each pixel:
    k x k x C + C x F weights in place of k x k x C x F. Nothing stands between the two, which
    Chollet found best. The default padding keeps the size at stride 1, for odd kernels.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        stride: int = 1,
        padding: int | str | None = None,
        dilation: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels,
            in_channels,
            kernel_size,
            stride=stride,
            padding=dilation * (kernel_size - 1) // 2 if padding is None else padding,
            dilation=dilation,
            groups=in_channels,
            bias=False,  # the pointwise step has one, and nothing lies between
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)


class Residual(Composite):
    """Layers one after the other, and their input added to what they give (He et al. 2016).

    Where the shapes differ, the input passes ``projection``: a 1 x 1 convolution with the stride
    that makes them equal, unless a layer of that name is given.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Body(x) + x, or body(x) + projection(x)."""
        y, shortcut = x, x
        for name, layer in self.named_children():
            if name == "projection":
                shortcut = layer(x)
            else:
                y = layer(y)
        return y + shortcut

    def grow(self, x: Tensor) -> Tensor:
        """Build the body, then the projection if one is needed."""
        y, shortcut = x, x
        given = False
        for name, layer in list(self.named_children()):
            if name == "projection":
                shortcut, given = _kept(name, layer, x), True
            else:
                y = _kept(name, layer, x) if y is x else layer(y)
        if not given and x.shape != y.shape and x.dim() == y.dim() == 4:
            stride = (_step(x.shape[2], y.shape[2]), _step(x.shape[3], y.shape[3]))
            self.projection = nn.Conv2d(x.shape[1], y.shape[1], 1, stride=stride, bias=False)
            shortcut = self.projection(x)
        if shortcut.shape != y.shape:
            raise NetworkError(
                f"expected shapes that add, got {_shape(y)} from the body and {_shape(shortcut)} "
                "beside it; pad the convolutions of the body, or give a layer 'projection'"
            )
        return y + shortcut


class Parallel(Composite):
    """Branches that all see the input, concatenated by channel or added (Szegedy et al. 2015)."""

    def __init__(self, join: Literal["concat", "add"] = "concat") -> None:
        super().__init__()
        if join not in ("concat", "add"):
            raise ValueError(f"join is concat or add, got {join!r}")
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        """(N, sum of the branches' channels, H, W), or their sum."""
        return self._joined([branch(x) for branch in self.children()])

    def _joined(self, outputs: list[Tensor]) -> Tensor:
        return torch.cat(outputs, dim=1) if self.join == "concat" else reduce(torch.add, outputs)

    def grow(self, x: Tensor) -> Tensor:
        """Build the branches and compare what they give."""
        outputs = {name: _kept(name, branch, x) for name, branch in list(self.named_children())}
        skip = 2 if self.join == "concat" else 1
        if len({output.shape[skip:] for output in outputs.values()}) > 1:
            got = ", ".join(f"{_shape(output)} from {name}" for name, output in outputs.items())
            verb = "concatenate" if self.join == "concat" else "add"
            raise NetworkError(
                f"expected branches that {verb}, got {got}; pad or stride them alike"
            )
        return self._joined(list(outputs.values()))

    def extra_repr(self) -> str:
        """How branches are joined, as ``print`` shows it."""
        return f"join={self.join}"


class Dense(Composite):
    """Each layer sees the input and what all layers before it gave (Huang et al. 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C + channels of all layers, H, W)."""
        for layer in self.children():
            x = torch.cat([x, layer(x)], dim=1)
        return x

    def grow(self, x: Tensor) -> Tensor:
        """Build the layers; each must keep height and width."""
        for name, layer in list(self.named_children()):
            out = _kept(name, layer, x)
            if out.shape[2:] != x.shape[2:]:
                raise NetworkError(
                    f"expected {name} to keep the size of {_shape(x)}, got {_shape(out)}; pad it"
                )
            x = torch.cat([x, out], dim=1)
        return x


def _kept(name: str, layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer gives, once it is sure that the input is left to the others that see it."""
    version = x._version  # counts what is done in place
    out: Tensor = layer(x)
    if x._version != version:
        raise NetworkError(
            f"expected {name} to leave its input as it is, since others see it too; drop inplace "
            "from its first layer"
        )
    return out


def _step(old: int, new: int) -> int:
    """Stride by which every so many of ``old`` positions make ``new``; 1 if none does."""
    step = max(1, -(-old // new))
    return step if (old - 1) // step + 1 == new else 1


def _shape(x: Tensor) -> str:
    """Shape of a batch in words."""
    return "(" + ", ".join(["N", *map(str, x.shape[1:])]) + ")"
