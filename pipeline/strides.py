"""Whether a sliding window fits its input: (N - F + 2P) / S, and what would make it whole."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Misfit:
    """A window of span F, moved by S over N positions padded by P on both sides, that doesn't fit.

    All along one axis; a dilated kernel K spans F = D (K - 1) + 1.
    """

    size: int  # N
    kernel: int  # K
    stride: int  # S
    padding: int  # P
    dilation: int  # D
    left: int  # of the padded input, behind the last window
    lost: int  # of the input itself
    paddings: tuple[int, ...]  # that would fit, nearest first
    strides: tuple[int, ...]

    @property
    def span(self) -> int:
        """F."""
        return span(self.kernel, self.dilation)

    def text(self, *what: str) -> str:
        """The arithmetic, what is lost, and what would fit; ``what`` are rows, columns or both."""
        steps = (self.size - self.span + 2 * self.padding) / self.stride
        formula = (
            f"({self.size} - {self.span} + 2 x {self.padding}) / {self.stride} = {steps:.2f} is "
            "not whole"
        )
        if self.dilation > 1:
            formula += f", where {self.span} = {self.dilation} x ({self.kernel} - 1) + 1"
        if not self.lost:
            return (
                f"{formula}: {_count(self.left, what)} of padding at the end go unused. No pixel "
                "is lost, but the map lies off centre."
            )
        lost = _count(self.lost, what)
        return f"{formula}: the last {lost} of its input are lost. {self._fits()}"

    def _fits(self) -> str:
        options = [f"padding {padding}" for padding in self.paddings[:1]]
        options += [f"stride {stride}" for stride in self.strides[:1]]
        if not options:
            return "No padding that it allows and no stride up to its kernel fits, but stride 1."
        return f"{' or '.join(options).capitalize()} would fit."


def misfit(
    size: int, out: int, kernel: int, stride: int, padding: int, dilation: int, most: int
) -> Misfit | None:
    """How a window misses its input along an axis; None: it fits, or is meant to skip.

    A stride larger than the window skips positions everywhere, and what it skips at the end is no
    more of a loss than that.

    Args:
        size: Positions of the input.
        out: Positions of the output, which tells whether a last window was cut off (``ceil_mode``).
        kernel: Of the layer, as are stride, padding and dilation.
        stride: Of the window.
        padding: On each side.
        dilation: Of the kernel.
        most: The largest padding that may be suggested.
    """
    width = span(kernel, dilation)
    end = (out - 1) * stride + width  # of the last window, in the padded input
    left = size + 2 * padding - end
    if left <= max(0, stride - width):
        return None
    paddings = [p for p in range(most + 1) if (size - width + 2 * p) % stride == 0]
    strides = [s for s in range(2, max(width, stride) + 1) if (size - width + 2 * padding) % s == 0]
    return Misfit(
        size=size,
        kernel=kernel,
        stride=stride,
        padding=padding,
        dilation=dilation,
        left=left,
        lost=max(0, left - padding),
        paddings=tuple(sorted(paddings, key=lambda p: (abs(p - padding), p))),
        strides=tuple(sorted(strides, key=lambda s: (abs(s - stride), s))),
    )


def span(kernel: int, dilation: int) -> int:
    """Positions from the first to the last that a kernel looks at."""
    return dilation * (kernel - 1) + 1


def _count(number: int, what: tuple[str, ...]) -> str:
    """2 rows and 2 columns."""
    names = [name if number > 1 else name.removesuffix("s") for name in what]
    return " and ".join(f"{number} {name}" for name in names)
