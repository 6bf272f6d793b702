"""Opens a source by its kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.schema import FoldersSource, SatSource, ScenesSource, TilesSection
    from pipeline.sources.batch import Plan


def look(source: FoldersSource | ScenesSource | SatSource, tiles: TilesSection) -> Plan:
    """Look at a source of any kind: headers and file lists only."""
    # Each kind brings its own readers along; only those of the kind at hand are imported.
    if source.kind == "folders":
        from pipeline.sources import folders

        return folders.plan(source, tiles)
    if source.kind == "scenes":
        from pipeline.sources import scenes

        return scenes.plan(source, tiles)
    from pipeline.sources import sat

    return sat.plan(source, tiles)
