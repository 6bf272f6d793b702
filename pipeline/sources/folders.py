"""Rasters in class folders: ``root/<class>/*.tif``; a file is a group and is cut into windows.

Without labels folders mean nothing: every file below root is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import ClassError, SourceError
from pipeline.sources.batch import Plan
from pipeline.sources.cutting import OneLabel, Piece, RasterTask, stems
from pipeline.sources.raster import Reading, assumption, band_type, find_bands, opened
from pipeline.types import Bands, Classes

if TYPE_CHECKING:
    from pipeline.schema import FoldersSource, TilesSection

FILES_A_TASK = 64
# Files that lie beside rasters, and are read with them or not at all.
SIDECARS = {
    ".xml", ".ovr", ".msk", ".aux", ".prj", ".tfw", ".pgw", ".jgw", ".j2w", ".wld", ".hdr",
    ".txt", ".md", ".json", ".csv",
}  # fmt: skip


def plan(source: FoldersSource, tiles: TilesSection) -> Plan:
    """List the files of each class and look at the first of them."""
    root = Path(source.root)
    if source.labels == "none":
        classes = Classes(())
        found = [(path, 0) for path in _all_files(root, source.pattern)]
    else:
        classes = _classes(root, source.classes)
        labels = enumerate(classes)
        found = [(path, label) for label, name in labels for path in _files(source, name)]
    names = [path.relative_to(root).as_posix() for path, _ in found]
    reading = Reading(source.bands, source.nodata, source.alpha_mask)
    with opened(found[0][0], names[0]) as dataset:
        dtype = band_type(dataset, find_bands(dataset, source.bands, names[0]), names[0])
        assumed = assumption(dataset, source.bands, names[0])
    pieces = [
        Piece(str(path), name, stem, OneLabel(label), path.stat().st_size)
        for (path, label), name, stem in zip(found, names, stems(names), strict=True)
    ]
    parts = [tuple(pieces[i : i + FILES_A_TASK]) for i in range(0, len(pieces), FILES_A_TASK)]
    return Plan(
        kind="folders",
        bands=Bands(reading.names),
        classes=classes,
        dtype=dtype,
        tasks=[
            RasterTask(part, reading, dtype.name, tiles.size, tiles.stride or tiles.size)
            for part in parts
        ],
        files=names,
        assumed=assumed,
    )


def _classes(root: Path, wanted: list[str] | None) -> Classes:
    if not root.is_dir():
        raise SourceError(
            f"Expected a folder with a folder for each class, got no folder at {root}. "
            "Set source.root."
        )
    have = sorted(
        path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    if missing := sorted(set(wanted or ()) - set(have)):
        raise ClassError(
            f"Expected a folder for each class, got none for {', '.join(missing)} in {root}, "
            f"which has {', '.join(have) or 'no folders'}. Mend source.classes."
        )
    names = wanted or have
    if len(names) < 2:
        raise SourceError(
            f"Expected a folder for each of two classes or more, got {len(names)} in {root}. "
            "Set source.root to the folder that holds the class folders."
        )
    return Classes(tuple(names))


def _files(source: FoldersSource, name: str) -> list[Path]:
    folder = Path(source.root) / name
    files = sorted(path for path in folder.glob(source.pattern) if _is_raster(path, folder))
    if not files:
        raise SourceError(
            f"Expected rasters in the class folder {folder}, got no file that fits "
            f"{source.pattern!r}. Set source.pattern, or name the classes in source.classes."
        )
    return files


def _all_files(root: Path, pattern: str) -> list[Path]:
    files = sorted(path for path in root.rglob(pattern) if _is_raster(path, root))
    if not files:
        raise SourceError(
            f"Expected rasters below {root}, got no file that fits {pattern!r}. Set source.root or "
            "source.pattern."
        )
    return files


def _is_raster(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.is_file() and not hidden and path.suffix.lower() not in SIDECARS
