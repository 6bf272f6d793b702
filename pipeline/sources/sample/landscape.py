"""The plan of a scene: roads divide it into blocks, a river crosses it, blocks are filled."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.sample import landuse
from pipeline.sources.sample.canvas import Box, Canvas
from pipeline.sources.sample.landuse import Filler
from pipeline.sources.sample.noise import smooth_noise
from pipeline.sources.sample.roads import road, track
from pipeline.sources.sample.spectra import FIRST_WATER, INDEX, TURBIDITIES

# From the middle of a town outwards; each with its share of the blocks.
LAND_USES: tuple[tuple[Filler, float], ...] = (
    (landuse.town, 0.09),
    (landuse.retail, 0.05),
    (landuse.industry, 0.10),
    (landuse.village, 0.09),
    (landuse.park, 0.04),
    (landuse.pit, 0.08),
    (landuse.farmland, 0.26),
    (landuse.forest, 0.21),
    (landuse.meadow, 0.06),
)
URBAN = (landuse.town, landuse.retail, landuse.industry, landuse.village)
BRIDGED = 11.0  # metres: roads this wide cross water, others end at its shore
BLOCK = 130.0  # metres: blocks are divided no further once they are about this small


class _Line(NamedTuple):
    """A road to be drawn, ``width`` metres wide; it runs down the sheet where ``turned``."""

    box: Box
    turned: bool
    width: float


def _divide(
    rng: np.random.Generator, box: Box, width: float, lines: list[_Line], blocks: list[Box]
) -> None:
    """Halve a box along a road again and again; roads get narrower."""
    if max(box.width, box.height) < 1.7 * BLOCK:
        blocks.append(box)
        return
    if box.height > box.width:
        turned_blocks: list[Box] = []
        turned_lines: list[_Line] = []
        _divide(rng, box.turned(), width, turned_lines, turned_blocks)
        blocks.extend(block.turned() for block in turned_blocks)
        lines.extend(_Line(a.box.turned(), not a.turned, a.width) for a in turned_lines)
        return
    at = box.left + box.width * rng.uniform(0.36, 0.64)
    half = width / 2
    lines.append(_Line(Box(box.top, at - half, box.bottom, at + half), True, width))
    thinner = max(6.5, width * rng.uniform(0.55, 0.85))
    _divide(rng, box._replace(right=at - half), thinner, lines, blocks)
    _divide(rng, box._replace(left=at + half), thinner, lines, blocks)


def _draw(canvas: Canvas, rng: np.random.Generator, line: _Line) -> None:
    """A road along its own direction; the narrowest are sometimes dirt tracks."""
    sheet, box = (canvas.turned(), line.box.turned()) if line.turned else (canvas, line.box)
    if line.width < 8.0 and rng.random() < 0.3:
        track(sheet, rng, box)
    else:
        road(sheet, rng, box)


def _water_level(canvas: Canvas, rng: np.random.Generator) -> NDArray[np.float32]:
    """Metres to the next shore, below 0 in water: a river from edge to edge and a lake."""
    side = canvas.side
    everywhere = Box(0.0, 0.0, side, side)
    x, y = canvas.across(everywhere), canvas.down(everywhere)
    bend = smooth_noise(rng, (1, x.size), 170.0 / canvas.step) * np.float32(55.0)
    middle = bend + np.float32(side * rng.uniform(0.25, 0.75))
    level = np.abs(y - middle)
    level += 3 * smooth_noise(rng, (x.size, x.size), 30.0 / canvas.step)
    level -= np.float32(rng.uniform(18.0, 34.0))
    reach = min(180.0, side / 2)
    top, left = rng.uniform(0.15, 0.85, 2) * side - reach
    window = Box(max(0.0, top), max(0.0, left), top + 2 * reach, left + 2 * reach)
    x, y = canvas.across(window) + window.left - left, canvas.down(window) + window.top - top
    lake = np.hypot((x - reach) * np.float32(rng.uniform(0.6, 1.0)), y - reach)
    lake += 26 * smooth_noise(rng, canvas.points(window), 70.0 / canvas.step)
    lake += 5 * smooth_noise(rng, canvas.points(window), 22.0 / canvas.step)
    lake -= np.float32(rng.uniform(0.4, 0.6) * reach)
    where = canvas.cut(window)
    np.minimum(level[where], lake, out=level[where])
    return level.T if rng.random() < 0.5 else level


def _flood(canvas: Canvas, rng: np.random.Generator, level: NDArray[np.float32]) -> None:
    """Lay water, from clear to turbid, and its shore."""
    shape = (level.shape[0], level.shape[1])
    beach = (level < rng.uniform(2.0, 6.0)) & ~canvas.wet
    canvas.material[beach] = INDEX[str(rng.choice(["soil_sand", "gravel", "grass_lush"]))]
    canvas.tint[beach], canvas.height[beach], canvas.canopy[beach] = 1.0, 0.0, 0
    banks = (level > 8.0) & (level < 22.0) & (canvas.height == 0.0)
    canvas.canopy[banks] = np.maximum(canvas.canopy[banks], 12)
    drift = smooth_noise(rng, shape, 120.0 / canvas.step) * np.float32(2.5)
    turbidity = np.clip(drift + rng.uniform(2.0, TURBIDITIES - 4.0), 0, TURBIDITIES - 1)
    wet = canvas.wet
    canvas.material[wet] = FIRST_WATER + turbidity[wet].astype(np.uint8)
    canvas.tint[wet], canvas.warmth[wet] = 1.0, 0.0
    canvas.height[wet], canvas.canopy[wet] = 0.0, 0


def _assign(
    rng: np.random.Generator, blocks: list[Box], centre: tuple[float, float]
) -> list[tuple[Box, Filler]]:
    """A land use for each block: what is dense lies near the centre, mostly."""
    away = [
        np.hypot((b.top + b.bottom) / 2 - centre[0], (b.left + b.right) / 2 - centre[1])
        + rng.normal(0.0, 220.0)
        for b in blocks
    ]
    order = np.argsort(away)
    areas = np.array([blocks[i].width * blocks[i].height for i in order])
    position = (np.cumsum(areas) - areas / 2) / areas.sum()
    urban = rng.uniform(0.6, 1.4)
    limits = np.cumsum([share * (urban if use in URBAN else 1.0) for use, share in LAND_USES])
    limits /= limits[-1]
    chosen = np.minimum(np.searchsorted(limits, position), len(LAND_USES) - 1)
    return [(blocks[i], LAND_USES[use][0]) for i, use in zip(order, chosen, strict=True)]


def draw_plan(rng: np.random.Generator, side: float, step: float) -> Canvas:
    """A landscape of ``side`` metres, a point every ``step`` metres."""
    canvas = Canvas.blank(side, step)
    level = _water_level(canvas, rng)
    np.less(level, 0.0, out=canvas.wet)
    lines: list[_Line] = []
    blocks: list[Box] = []
    at = side * rng.uniform(0.4, 0.6)
    highway = Box(at - 17.0, 0.0, at + 17.0, side)
    for half in (Box(0.0, 0.0, at - 17.0, side), Box(at + 17.0, 0.0, side, side)):
        _divide(rng, half, rng.uniform(16.0, 22.0), lines, blocks)
    centre = (side * rng.uniform(0.1, 0.9), side * rng.uniform(0.1, 0.9))
    for block, fill in _assign(rng, blocks, centre):
        fill(canvas, rng, block.inset(2.0))
    lines.sort(key=lambda a: a.width)
    minor = sum(line.width < BRIDGED for line in lines)
    for line in lines[:minor]:
        _draw(canvas, rng, line)
    _flood(canvas, rng, level)
    for line in lines[minor:]:  # only these have bridges
        _draw(canvas, rng, line)
    road(canvas, rng, highway)
    return canvas
