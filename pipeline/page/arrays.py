"""Arrays as text that a page carries: base64 of little-endian numbers in C order."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a script has typed arrays for.
KINDS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "float32")


def packed(values: NDArray[Any]) -> dict[str, Any]:
    """Type, shape and numbers; of another type as float32."""
    kind = values.dtype.name if values.dtype.name in KINDS else "float32"
    # Shape before the numbers are copied: ``ascontiguousarray`` would give a scalar an axis.
    shape = list(values.shape)
    numbers = np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<"))
    return {"type": kind, "shape": shape, "data": base64.b64encode(numbers.tobytes()).decode()}


def levels(values: NDArray[Any]) -> tuple[NDArray[np.uint16], float, float]:
    """Numbers in 65,536 even steps from the least to the largest: ``low + step * level``.

    What is lost is at most half a step, 8e-6 of their range.
    """
    low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    step = (high - low) / 65535 or 1.0
    found = np.rint((values.astype(np.float64) - low) / step)
    return found.astype(np.uint16), low, step


def signed_bytes(maps: NDArray[Any]) -> NDArray[np.int8]:
    """Maps (..., H, W) as -127 to 127, each divided by the largest of its magnitudes."""
    most = np.abs(maps).max(axis=(-2, -1), keepdims=True)
    scaled = np.rint(127 * maps / np.where(most > 0, most, 1))
    return np.asarray(np.nan_to_num(scaled), dtype=np.int8)
