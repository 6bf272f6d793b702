"""Slide a kernel made by hand over a band of a tile, and write one window out in numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import picking
from pipeline.console import say
from pipeline.errors import ConfigError
from pipeline.figures import canvas
from pipeline.figures.kernels import sliding, told
from pipeline.kernels import KERNELS, PADDINGS, Padding, Slid, Slide, parse
from pipeline.store import Store

OUT = Path("reports/kernel")


def run(
    name: str | None = None,
    matrix: str | None = None,
    tile: str = "0",
    within: str | None = None,
    band: str | None = None,
    padding: str = "same",
    stride: int = 1,
    dilation: int = 1,
    at: str | None = None,
    out: str | None = None,
) -> None:
    """Print one window, weights, products and sum; draw them and what comes out of all windows.

    Args:
        name: A kernel that is known.
        matrix: Or one in rows of numbers.
        tile: A number or an id.
        within: Split in which the number counts.
        band: By name; the last if absent.
        padding: What is beyond the edge.
        stride: Pixels from one window to the next.
        dilation: Pixels from one weight to the next.
        at: Row and column of the answer that is written out; its largest magnitude if absent.
        out: A PNG.
    """
    called, kernel = kernel_of(name, matrix)
    slide = Slide(_padding(padding), _from_one("stride", stride), _from_one("dilation", dilation))
    store = Store.open()
    rows = picking.pick(store, tile, within)
    if len(rows) > 1:
        raise ConfigError(f"Expected one tile in --tile, got {len(rows)}.")
    shown = band or store.bands.names[-1]
    values = np.asarray(store.tile(rows[0]).pixels)[..., store.bands.index(shown)]
    slid = Slid.peak(called, kernel, values, slide)
    answer = slid.answer
    if at is not None:
        slid = replace(slid, place=_place(at, answer))
    where = f"{shown} of {store.index['id'].iloc[rows[0]]}"
    say(
        f"{called} on {where}, padding {padding}, stride {stride}, dilation {dilation}: "
        f"{_size(values)} -> {_size(answer)}, {told(float(answer.min()))} to "
        f"{told(float(answer.max()))}"
    )
    for line in written_out(slid):
        say(line)
    path = Path(out) if out else OUT / f"{re.sub(r'[^a-z0-9_]+', '_', called)}.png"
    if path.suffix.lower() != ".png":
        raise ConfigError(f"Expected a file .png in --out, got {out}.")
    say(f"Wrote {canvas.save(sliding(slid, f'{called} on {where}'), path)}.")


def kernel_of(name: str | None, matrix: str | None) -> tuple[str, NDArray[np.float32]]:
    """Name and weights of the kernel that is meant."""
    known = ", ".join(KERNELS)
    if (name is None) == (matrix is None):
        got = "neither" if name is None else "both"
        raise ConfigError(f"Expected a kernel ({known}) or --matrix, got {got}.")
    if matrix is not None:
        return "matrix", parse(matrix)
    if name not in KERNELS:
        near = get_close_matches(str(name), KERNELS, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"Expected one of the kernels {known}, got {name!r}.{hint}")
    return str(name), KERNELS[str(name)]


def _padding(text: str) -> Padding:
    for padding in PADDINGS:
        if text == padding:
            return padding
    raise ConfigError(f"Expected one of {', '.join(PADDINGS)} in --padding, got {text!r}.")


def _from_one(what: str, value: int) -> int:
    if value < 1:
        raise ConfigError(f"Expected a {what} of 1 or more, got {value}.")
    return value


def _place(at: str, answer: NDArray[Any]) -> tuple[int, int]:
    match = re.fullmatch(r"\s*(\d+)\s*,\s*(\d+)\s*", at)
    if match and int(match[1]) < answer.shape[0] and int(match[2]) < answer.shape[1]:
        return int(match[1]), int(match[2])
    last = f"{answer.shape[0] - 1},{answer.shape[1] - 1}"
    raise ConfigError(f"Expected row and column of the answer, 0,0 to {last}, in --at, got {at!r}.")


def written_out(slid: Slid) -> list[str]:
    """The window, the weights, the products and their sum, in lines of text."""
    parts = [[[told(float(v)) for v in row] for row in part]
             for part in (slid.window, slid.kernel, slid.products)]  # fmt: skip
    wide = [max(len(text) for row in part for text in row) for part in parts]
    lines = [f"window for row {slid.place[0]}, column {slid.place[1]} of the answer x weights "
             "= products"]  # fmt: skip
    middle = len(slid.kernel) // 2
    for k, rows in enumerate(zip(*parts, strict=True)):
        signs = ("  x  ", "  =  ", "") if k == middle else ("     ", "     ", "")
        cells = (
            " ".join(text.rjust(size) for text in row) + sign
            for row, size, sign in zip(rows, wide, signs, strict=True)
        )
        lines.append("  " + "".join(cells))
    return [*lines, f"sum = {told(float(slid.answer[slid.place]))}"]


def _size(values: NDArray[Any]) -> str:
    return " x ".join(map(str, values.shape))
