"""Kernels made by hand, each a filter that a convolution could learn, and how they are slid.

As a convolution layer does it, this is cross-correlation: the kernel is not turned round.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError

Floats = NDArray[np.float32]
Padding = Literal["valid", "same", "zeros"]
PADDINGS: tuple[Padding, ...] = get_args(Padding)


def _kernel(rows: Sequence[Sequence[float]], scale: float = 1.0) -> Floats:
    return np.asarray(rows, dtype=np.float32) * np.float32(scale)


# All but the Laplacian and the Sobel pair (Sobel & Feldman 1968), which sum to 0, keep the level of
# the band.
KERNELS: dict[str, Floats] = {
    "identity": _kernel([[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
    "box_blur": _kernel([[1, 1, 1], [1, 1, 1], [1, 1, 1]], 1 / 9),
    "gaussian_blur": _kernel([[1, 2, 1], [2, 4, 2], [1, 2, 1]], 1 / 16),
    "sobel_x": _kernel([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]),
    "sobel_y": _kernel([[-1, -2, -1], [0, 0, 0], [1, 2, 1]]),
    "laplacian": _kernel([[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
    "sharpen": _kernel([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
}


def edges(kernel: NDArray[Any]) -> bool:
    """Whether weights sum to 0, so that a flat surface gives nothing."""
    return abs(float(kernel.sum())) < 1e-6


def parse(text: str) -> Floats:
    """A kernel (kh, kw) from rows of numbers in brackets, ``[[1, 0, -1], [2, 0, -2]]``."""
    told = f"Expected rows of numbers, as long as each other, such as [[0,1],[1,0]], got {text!r}"
    try:
        rows = json.loads(text)
        kernel = np.asarray(rows, dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{told}. Name it with --matrix.") from error
    # A text of digits or true would pass for a number.
    plain = isinstance(rows, list) and all(isinstance(row, list) for row in rows)
    if not plain or any(type(v) not in (int, float) for row in rows for v in row):
        raise ConfigError(f"{told}. Name it with --matrix.")
    with np.errstate(over="ignore"):
        weights = kernel.astype(np.float32)
    if weights.ndim != 2 or not weights.size or not np.isfinite(weights).all():
        raise ConfigError(f"{told}. Name it with --matrix.")
    return weights


@dataclass(frozen=True, slots=True)
class Slide:
    """How a kernel is laid on a band: ``same`` repeats the edge pixels, ``zeros`` pads with 0.

    ``valid`` keeps only places where the kernel fits. At a stride of 1 the padded ways keep the
    size; a larger one keeps every so many of their places.
    """

    padding: Padding = "same"
    stride: int = 1
    dilation: int = 1

    def reach(self, kernel: NDArray[Any]) -> tuple[int, int]:
        """Rows and columns of the band that one window spans."""
        height, width = kernel.shape
        return self.dilation * (height - 1) + 1, self.dilation * (width - 1) + 1

    def before(self, kernel: NDArray[Any]) -> tuple[int, int]:
        """Rows above the band and columns left of it that are made up."""
        if self.padding == "valid":
            return 0, 0
        height, width = self.reach(kernel)
        return (height - 1) // 2, (width - 1) // 2

    def padded(self, band: NDArray[Any], kernel: NDArray[Any]) -> Floats:
        """The band with the pixels that are made up around it.

        Raises:
            ConfigError: The kernel does not fit.
        """
        height, width = self.reach(kernel)
        if band.shape[0] < height or band.shape[1] < width:
            far = f" at a dilation of {self.dilation}" if self.dilation > 1 else ""
            raise ConfigError(
                f"Expected a band no smaller than its kernel, got {_size(band.shape)} pixels for a "
                f"kernel that spans {height} x {width}{far}."
            )
        if self.padding == "valid":
            return band.astype(np.float32)
        above, left = self.before(kernel)
        margins = ((above, height - 1 - above), (left, width - 1 - left))
        mode: Literal["edge", "constant"] = "edge" if self.padding == "same" else "constant"
        return np.pad(band.astype(np.float32), margins, mode=mode)

    def windows(self, band: NDArray[Any], kernel: NDArray[Any]) -> Floats:
        """What the kernel is laid on, place by place: (rows, columns, kh, kw)."""
        padded, step = self.padded(band, kernel), self.dilation
        views = np.lib.stride_tricks.sliding_window_view(padded, self.reach(kernel))
        windows: Floats = views[:: self.stride, :: self.stride, ::step, ::step]
        return windows

    def apply(self, band: NDArray[Any], kernel: NDArray[Any]) -> Floats:
        """Sums of products of a band (H, W) with a kernel (kh, kw), place by place.

        Raises:
            ConfigError: The kernel does not fit, or its sums are no numbers in float32.
        """
        windows = self.windows(band, kernel)
        with np.errstate(over="ignore", invalid="ignore"):
            answer: Floats = np.einsum("rcij,ij->rc", windows, kernel.astype(np.float32))
        if not np.isfinite(answer).all():
            most = float(np.abs(kernel).max())
            raise ConfigError(
                f"Expected weights whose sums of products stay below 3.4e38, got up to {most:.3g} "
                f"for values up to {float(np.abs(band).max()):.3g}. Make them smaller."
            )
        return answer

    def size(self, band: tuple[int, ...], kernel: NDArray[Any]) -> tuple[int, int]:
        """Rows and columns of what comes out: (size + padding - span) / stride + 1, cut."""
        height, width = self.reach(kernel)
        made = (0, 0) if self.padding == "valid" else (height - 1, width - 1)
        rows = (band[0] + made[0] - height) // self.stride + 1
        return rows, (band[1] + made[1] - width) // self.stride + 1


@dataclass(frozen=True, slots=True)
class Slid:
    """A kernel on a band, and the place of what comes out that is told in numbers."""

    name: str
    kernel: Floats  # (kh, kw)
    band: NDArray[Any]  # (H, W) raw values
    slide: Slide
    place: tuple[int, int]  # row and column of what comes out

    @classmethod
    def peak(cls, name: str, kernel: Floats, band: NDArray[Any], slide: Slide) -> Slid:
        """Told where what comes out is furthest from 0."""
        answer = np.abs(slide.apply(band, kernel))
        row, column = np.unravel_index(int(answer.argmax()), answer.shape)
        return cls(name, kernel, band, slide, (int(row), int(column)))

    @property
    def answer(self) -> Floats:
        """What comes out, all of it."""
        return self.slide.apply(self.band, self.kernel)

    @property
    def window(self) -> Floats:
        """Values (kh, kw) that the kernel is laid on there."""
        values: Floats = self.slide.windows(self.band, self.kernel)[self.place]
        return values

    @property
    def products(self) -> Floats:
        """Values by weights (kh, kw)."""
        return self.window * self.kernel

    @property
    def start(self) -> tuple[int, int]:
        """Row and column of the band where the window begins; negative in the padding."""
        above, left = self.slide.before(self.kernel)
        row, column = self.place
        return row * self.slide.stride - above, column * self.slide.stride - left


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
