"""Rasters as GDAL reads them: facts, bands by name or index, and which pixels hold no data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.windows import Window as RasterWindow

from pipeline.errors import BandError, SourceError
from pipeline.types import Window

GDAL = {
    # A JPEG or a PNG that was cut short is an error, not a patch of grey or of noise.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": True,
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": False,
    # A folder of many files is not listed each time that one of them is opened.
    "GDAL_DISABLE_READDIR_ON_OPEN": True,
}
CACHE_LEAST, CACHE_MOST = 16 * 2**20, 256 * 2**20


@dataclass(frozen=True)
class Raster:
    """What a raster's header tells; nothing stays open."""

    path: str
    name: str  # as messages and the index call it
    height: int
    width: int
    count: int
    dtypes: tuple[str, ...]
    transform: Affine
    crs: str | None
    metres: float | None  # of one unit of the CRS; None: degrees, or no CRS
    block: tuple[int, int]  # (height, width)

    @cached_property
    def resolution(self) -> float | None:
        """Metres a pixel, if the CRS counts in lengths."""
        return self.metres and self.metres * hypot(self.transform.a, self.transform.d)

    @property
    def line_bytes(self) -> int:
        """Bytes of one line of pixels of all bands, in blocks that may reach over the edge."""
        width = -(-self.width // self.block[1]) * self.block[1]
        return width * self.count * max(np.dtype(kind).itemsize for kind in self.dtypes)

    def cache_bytes(self, rows: int) -> int:
        """Block cache that spares decoding a block twice when reading ``rows`` lines at a time."""
        lines = max(2 * self.block[0], rows + self.block[0])
        return int(np.clip(1.1 * lines * self.line_bytes, CACHE_LEAST, CACHE_MOST))


@dataclass(frozen=True)
class Reading:
    """How a raster is read: which bands, and what counts as no data."""

    bands: Sequence[str] | Mapping[str, int]
    nodata: float | None = None  # beside the declared value
    alpha_mask: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bands, in the order of a tile's last axis."""
        return tuple(self.bands)


@contextmanager
def opened(path: str | Path, name: str | None = None) -> Iterator[Any]:
    """Open a raster, which ``name`` stands for in messages."""
    with rasterio.Env(**GDAL):
        with named(name or str(path)), warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(path)
        with dataset:
            yield dataset


@contextmanager
def named(name: str) -> Iterator[None]:
    """Whatever GDAL has to say against a raster names it."""
    try:
        yield
    except RasterioError as error:
        reason = str(error.__cause__ or error).rstrip(".")
        raise SourceError(
            f"Expected a raster that GDAL can read, got {name}: {reason}. "
            "Replace the file, or leave it out (source.pattern, predict.scenes)."
        ) from error


def look(path: str | Path, name: str | None = None) -> Raster:
    """Read a raster's header."""
    with opened(path, name) as dataset:
        return facts(dataset, str(path), name or str(path))


def facts(dataset: Any, path: str, name: str) -> Raster:
    """Facts of an open raster."""
    crs = dataset.crs
    return Raster(
        path=path,
        name=name,
        height=dataset.height,
        width=dataset.width,
        count=dataset.count,
        dtypes=tuple(dataset.dtypes),
        transform=dataset.transform,
        crs=crs_text(crs),
        metres=crs.linear_units_factor[1] if crs and crs.is_projected else None,
        block=tuple(dataset.block_shapes[0]),
    )


def crs_text(crs: Any) -> str | None:
    """``EPSG:32633`` where an authority knows the CRS, else its WKT; None: there is none."""
    if not crs:
        return None
    authority = crs.to_authority()
    return ":".join(authority) if authority else str(crs.to_wkt())


def find_bands(dataset: Any, bands: Sequence[str] | Mapping[str, int], name: str) -> list[int]:
    """Indexes (1-based) of the bands in an open raster.

    Names are looked for in the band descriptions, whatever their case: as the whole description,
    else as one word of it. A raster without descriptions gives its bands in order, if there are as
    many as names.
    """
    if isinstance(bands, Mapping):
        return _check_indexes(bands, dataset.count, name)
    described = [(text or "").casefold() for text in dataset.descriptions]
    if not any(described):
        if len(bands) == dataset.count:
            return list(range(1, dataset.count + 1))
        raise BandError(
            f"Expected the {len(bands)} bands {', '.join(bands)}, got {dataset.count} without "
            f"descriptions in {name}. Say where each is with {_mapping(bands)}."
        )
    return [_find(band.casefold(), described, bands, name) for band in bands]


def assumption(dataset: Any, bands: Sequence[str] | Mapping[str, int], name: str) -> str | None:
    """What is taken on trust where nothing in an open raster says which band is which."""
    if isinstance(bands, Mapping) or any(dataset.descriptions):
        return None
    return (
        f"{name} does not say which band is which: taken in order as {', '.join(bands)}. "
        f"If they are others, say where each is with {_mapping(bands)}."
    )


def _check_indexes(bands: Mapping[str, int], count: int, name: str) -> list[int]:
    for band, index in bands.items():
        if not 1 <= index <= count:
            raise BandError(
                f"Expected band {band} at index {index}, got a raster of {count} bands in {name}. "
                f"Give indexes from 1 to {count} in source.bands."
            )
    return list(bands.values())


def _find(band: str, described: list[str], bands: Sequence[str], name: str) -> int:
    whole = [i for i, text in enumerate(described, 1) if text == band]
    words = [i for i, text in enumerate(described, 1) if band in text.split()]
    found = whole or words
    if len(found) == 1:
        return found[0]
    got = ", ".join(text or "no description" for text in described)
    raise BandError(
        f"Expected one band called {band}, got {len(found)} among the bands {got} in {name}. "
        f"Say where each is with {_mapping(bands)}."
    )


def _mapping(bands: Sequence[str]) -> str:
    example = ", ".join(f"{band}: {i}" for i, band in enumerate(bands, 1))
    return f"a mapping to 1-based indexes, such as source.bands={{{example}}}"


def band_type(dataset: Any, indexes: Sequence[int], name: str) -> np.dtype[np.generic]:
    """Return the number type that the chosen bands share."""
    kinds = sorted({dataset.dtypes[i - 1] for i in indexes})
    if len(kinds) > 1 or kinds[0].startswith("complex"):
        raise SourceError(
            f"Expected bands of one real number type, got {' and '.join(kinds)} in {name}. "
            "Convert it with gdal_translate -ot."
        )
    kind: np.dtype[np.generic] = np.dtype(kinds[0])
    return kind


def read(dataset: Any, indexes: Sequence[int], window: Window) -> NDArray[np.generic]:
    """Pixels (height, width, bands) of a window."""
    kind = dataset.dtypes[indexes[0] - 1]
    pixels = np.empty((window.height, window.width, len(indexes)), kind)
    # GDAL fills a channel-last array through its strides, at about the cost of a transposition.
    with named(dataset.name):
        dataset.read(list(indexes), window=_place(window), out=pixels.transpose(2, 0, 1))
    return pixels


def _place(window: Window) -> RasterWindow:
    return RasterWindow(window.col, window.row, window.width, window.height)


def invalid(
    dataset: Any, indexes: Sequence[int], pixels: NDArray[Any], window: Window, reading: Reading
) -> NDArray[np.bool_] | None:
    """Mask (height, width) of the pixels with no data in some band; None: there are none.

    No data is the declared value, ``reading.nodata``, a number that is not finite, or what the
    file's mask says. A band that GDAL calls alpha is a mask only if ``reading.alpha_mask``.
    """
    bad = np.zeros(pixels.shape[:2], bool)
    declared = dataset.nodatavals
    for channel, index in enumerate(indexes):
        for value in {declared[index - 1], reading.nodata} - {None}:
            if _holds(pixels.dtype, value):
                bad |= pixels[..., channel] == pixels.dtype.type(value)
    if pixels.dtype.kind == "f":
        bad |= ~np.isfinite(pixels).all(axis=-1)
    for index in _masked(dataset, indexes, reading.alpha_mask):
        with named(dataset.name):
            bad |= dataset.read_masks(index, window=_place(window)) == 0
    return bad if bad.any() else None


def _holds(kind: np.dtype[Any], value: float) -> bool:
    """Whether a type can hold a nodata value at all: -9999 is none in a raster of bytes."""
    if kind.kind == "f":
        return not np.isnan(value)  # numbers that are not finite are looked for anyway
    limits = np.iinfo(kind)
    return float(value).is_integer() and limits.min <= value <= limits.max


def _masked(dataset: Any, indexes: Sequence[int], alpha: bool) -> list[int]:
    """Bands whose mask is to be read: one if all share it."""
    every = dataset.mask_flag_enums
    flags = {index: set(every[index - 1]) for index in indexes}
    plain = {MaskFlags.all_valid, MaskFlags.nodata}
    own = [
        index
        for index, kinds in flags.items()
        if kinds - plain - {MaskFlags.alpha} and (alpha or MaskFlags.alpha not in kinds)
    ]
    return own[:1] if own and MaskFlags.per_dataset in flags[own[0]] else own
