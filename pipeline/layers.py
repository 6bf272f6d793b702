"""Layers that ``torch.nn`` lacks: the targets ``pipeline.layers.<Layer>``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline.composites import Chain, Dense, DepthwiseSeparable, Parallel, Residual
from pipeline.errors import BandError
from pipeline.pretrained import Timm

__all__ = [
    "Chain", "Dense", "DepthwiseSeparable", "GlobalAvgPool", "GlobalMaxPool",
    "LinearToMap", "Normalize", "Parallel", "Residual", "SpectralIndices",
    "Timm", "Whiten",
]  # fmt: skip

# McFeeters 1996 for water, Rouse et al. 1974 for vegetation: (a - b) / (a + b).
INDICES = {"ndvi": ("nir", "red"), "ndwi": ("green", "nir")}


class Normalize(nn.Module):
    """Raw pixel values, zero-centred and scaled band by band with the training split's statistics.

    Being the first layer, it goes wherever the network goes: no program that uses the network can
    forget it or use other numbers. Channels beyond the bands, as spectral indices are, stay as
    they are.

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
        self.num_features = num_features
        self.scale = scale
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("deviation", torch.ones(num_features))

    def set_statistics(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take the mean and the deviation of each band; a constant band is only centred."""
        deviation = torch.as_tensor(std, dtype=torch.float64)
        if not self.scale:
            deviation = deviation.square().mean().sqrt().expand_as(deviation)
        bands = len(deviation)
        self.mean[:bands] = torch.as_tensor(mean, dtype=torch.float64)
        self.deviation[:bands] = torch.where(deviation > 0, deviation, 1.0)

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) raw values -> (N, C, H, W) near 0."""
        return (pixels - self.mean[:, None, None]) / self.deviation[:, None, None]

    def extra_repr(self) -> str:
        """Arguments, as ``print`` shows them."""
        return f"num_features={self.num_features}, scale={self.scale}"


class SpectralIndices(nn.Module):
    """Normalized differences of two bands, (a - b) / (a + b), as further channels from -1 to 1.

    Belongs before ``Normalize``: a ratio means something only on raw values. 0 where a + b is 0;
    cut to -1 and 1 where a value is below 0, as some sensors' reflectances and shifted tiles are.

    Args:
        bands: Names of the channels; filled in.
        indices: ``[ndvi, ndwi]``, or a mapping of a name of one's own to its two bands,
            ``{ndre: [nir, rededge]}``.
    """

    def __init__(
        self,
        bands: Sequence[str],
        indices: Sequence[str] | Mapping[str, Sequence[str]] = ("ndvi", "ndwi"),
    ) -> None:
        super().__init__()
        names = list(bands)
        pairs = [
            self._pair(index, None if not isinstance(indices, Mapping) else indices[index], names)
            for index in indices
        ]
        self.over = [names.index(first) for first, _ in pairs]
        self.under = [names.index(second) for _, second in pairs]

    @staticmethod
    def _pair(index: str, bands: Sequence[str] | None, known: list[str]) -> tuple[str, str]:
        pair = tuple(bands) if bands is not None else INDICES.get(index, ())
        if len(pair) != 2:
            raise BandError(
                f"expected two bands for the index {index!r}, got {list(pair)}; known without "
                f"bands: {', '.join(INDICES)}"
            )
        if missing := [band for band in pair if band not in known]:
            raise BandError(f"{index} needs the band {missing[0]}, got {', '.join(known)}")
        return pair[0], pair[1]

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) raw values -> (N, C + indices, H, W)."""
        first, second = pixels[:, self.over], pixels[:, self.under]
        total = first + second
        ratio = torch.where(total == 0, 0.0, (first - second) / torch.where(total == 0, 1.0, total))
        return torch.cat([pixels, ratio.clamp(-1, 1)], dim=1)

    def extra_repr(self) -> str:
        """Channels of each index, as ``print`` shows them."""
        return f"over={self.over}, under={self.under}"


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


class LinearToMap(nn.Linear):
    """A linear layer whose outputs are laid out as a map: the way back from a vector.

    Args:
        in_features: Values that come in; filled in.
        out_channels: Channels of the map.
        shrink: The map is so many times smaller than the tile, which it must divide.
        tile_size: Side of the tile in pixels; filled in.
    """

    def __init__(self, in_features: int, out_channels: int, shrink: int, tile_size: int) -> None:
        if tile_size % shrink:
            raise ValueError(
                f"tiles of {tile_size} pixels are no multiple of shrink={shrink}; set tiles.size "
                f"to {max(1, round(tile_size / shrink)) * shrink}, say"
            )
        self.shape = (out_channels, tile_size // shrink, tile_size // shrink)
        super().__init__(in_features, out_channels * (tile_size // shrink) ** 2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, F) -> (N, C, tile_size / shrink, tile_size / shrink)."""
        return super().forward(x).view(-1, *self.shape)


class Whiten(nn.Conv2d):
    """A convolution whose filters are measured, not learned: they take correlations out of patches.

    Neighbouring pixels and bands say nearly the same, and layers learn faster from what each says
    anew. The filters are the eigenvectors of the second moments of the training tiles' patches, the
    strongest first, each divided by the root of its eigenvalue. As the fixed first layer of a
    network: Page 2019, "How to train your ResNet"; Jordan 2024 (arXiv 2404.00498).

    Args:
        in_channels: Filled in.
        out_channels: Even: each filter is there with both signs, so that a ReLU behind loses none.
        kernel_size: Side of a patch.
        stride: From patch to patch.
        padding: On each side.
        eps: Added to the eigenvalues, so that what is nearly constant is not blown up.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        eps: float = 0.01,
    ) -> None:
        most = 2 * in_channels * kernel_size**2
        if out_channels % 2 or out_channels > most:
            raise ValueError(
                f"expected an even number of out_channels up to {most}, which is twice the "
                f"{in_channels} x {kernel_size} x {kernel_size} values of a patch"
            )
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, bias=False)
        self.eps = eps
        self.weight.requires_grad_(False)

    def set_moments(self, moments: Tensor) -> None:
        """Take the second moments (F, F) of patches, F = in_channels x kernel x kernel."""
        values, vectors = torch.linalg.eigh(moments)  # eigenvectors in columns, the faintest first
        filters = (vectors / (values.clamp(min=0) + self.eps).sqrt()).T.flip(0)
        filters = filters[: self.out_channels // 2]
        # An eigenvector may as well point the other way: the same tiles give the same filters.
        largest = filters.abs().argmax(dim=1, keepdim=True)
        filters = filters * filters.gather(1, largest).sign()
        both = torch.cat([filters, -filters])
        with torch.no_grad():
            self.weight.copy_(both.view_as(self.weight))
