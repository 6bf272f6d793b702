"""Scenes with a label raster, with polygons or unlabelled; a scene is a group, cut in slabs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ClassError, ConfigError, SourceError
from pipeline.sources.batch import Plan
from pipeline.sources.cutting import Labels, OneLabel, Piece, RasterTask, stems
from pipeline.sources.label_raster import LabelRaster, whole_numbers
from pipeline.sources.polygons import SUFFIXES, Polygons
from pipeline.sources.raster import (
    Raster,
    Reading,
    assumption,
    band_type,
    facts,
    find_bands,
    opened,
)
from pipeline.types import Bands, Classes
from pipeline.windows import Grid

if TYPE_CHECKING:
    from pipeline.schema import ScenesSource, TilesSection

# A slab is what one worker reads at a time: small enough to share out evenly, large enough that
# blocks which two slabs share, and so decode twice, are few.
SLAB_BYTES = 128 * 2**20


def plan(source: ScenesSource, tiles: TilesSection) -> Plan:
    """Find the scenes and their labels, look at each header, and cut the scenes into slabs."""
    _refuse_shared_values(source)
    root = Path(source.root)
    pairs = _pairs(root, source)
    names = [scene.relative_to(root).as_posix() for scene, _ in pairs]
    reading = Reading(source.bands, source.nodata, source.alpha_mask)
    stride = tiles.stride or tiles.size
    dtype, assumed = None, None
    tasks = []
    for (path, label_path), name, stem in zip(pairs, names, stems(names), strict=True):
        with opened(path, name) as dataset:
            kind = band_type(dataset, find_bands(dataset, source.bands, name), name)
            scene = facts(dataset, str(path), name)
            assumed = assumed or assumption(dataset, source.bands, name)
        dtype = dtype or kind
        labels = _labels(source, label_path, root)
        for rows in _slabs(scene, Grid(scene.height, scene.width, tiles.size, stride)):
            cost = max(len(rows), 1) * stride * scene.line_bytes
            piece = Piece(scene.path, name, stem, labels, cost, rows)
            tasks.append(RasterTask((piece,), reading, dtype.name, tiles.size, stride))
    assert dtype is not None  # there is a scene, or _pairs raised
    classes = Classes(tuple(_values(source)))
    return Plan("scenes", Bands(reading.names), classes, dtype, tasks, names, assumed=assumed)


def _values(source: ScenesSource) -> dict[str, int | str]:
    """Value of each class in the labels; of unlabelled scenes none."""
    return {} if source.labels == "none" else source.classes or {}


def _refuse_shared_values(source: ScenesSource) -> None:
    pairs = list(_values(source).items())
    pairs += [("source.ignore", value) for value in source.ignore]
    for place, (name, value) in enumerate(pairs):
        for other, same in pairs[:place]:
            if str(value) == str(same):
                raise ClassError(
                    f"Expected label values that differ, got {value} for {other} and {name}. "
                    "Mend source.classes."
                )


def _pairs(root: Path, source: ScenesSource) -> list[tuple[Path, Path | None]]:
    """Scenes and their labels; a file that labels another scene is none itself."""
    if not root.is_dir():
        raise SourceError(f"Expected a folder of scenes, got none at {root}. Set source.root.")
    found = sorted(path for path in root.glob(source.pattern) if path.is_file())
    labelled = found if source.labels != "none" else []
    labels = {path: _label_path(path, root, source) for path in labelled}
    scenes = [path for path in found if path not in set(labels.values())]
    if not scenes:
        raise SourceError(
            f"Expected scenes in {root}, got no file that fits {source.pattern!r}. "
            "Set source.pattern."
        )
    if lacking := [path for path in scenes if path in labels and not labels[path].is_file()]:
        raise SourceError(
            f"Expected labels for {lacking[0].name} at {labels[lacking[0]]}, got no file there. "
            "Set source.labels, where {stem} stands for the scene's name without its suffix."
        )
    return [(path, labels.get(path)) for path in scenes]


def _name(path: Path, root: Path) -> str:
    """How messages call a file of labels, which may lie outside of the root."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name


def _label_path(scene: Path, root: Path, source: ScenesSource) -> Path:
    return root / source.labels.replace("{stem}", scene.stem)


def _labels(source: ScenesSource, path: Path | None, root: Path) -> Labels:
    if path is None:
        return OneLabel(0)
    name, values = _name(path, root), tuple(_values(source).values())
    ignore = tuple(source.ignore)
    if path.suffix.lower() not in SUFFIXES:
        return LabelRaster(
            path=str(path),
            name=name,
            values=whole_numbers(values, "source.classes"),
            ignore=whole_numbers(ignore, "source.ignore"),
            min_purity=source.min_purity,
        )
    if source.attribute is None:
        raise ConfigError(
            f"Expected the column that holds the class of each polygon in {name}, got none. "
            "Set source.attribute."
        )
    return Polygons(
        path=str(path),
        name=name,
        attribute=source.attribute,
        values=values,
        ignore=ignore,
        min_purity=source.min_purity,
        tie_break=source.tie_break,
    )


def _slabs(scene: Raster, grid: Grid) -> Iterator[range]:
    """Rows of tiles in slabs; one empty slab for a scene smaller than a tile, so it is counted."""
    deep = max(1, SLAB_BYTES // (scene.line_bytes * grid.stride))
    yield from (range(row, min(row + deep, grid.rows)) for row in range(0, grid.rows, deep))
    if not grid.rows:
        yield range(0)
