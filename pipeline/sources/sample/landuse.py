"""What fills a block between roads: fields, woods, villages, town, industry, pits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from pipeline.sources.sample.buildings import FLAT, PITCHED, flat, pitched, saw_tooth
from pipeline.sources.sample.canvas import Box, Canvas
from pipeline.sources.sample.noise import smooth_noise
from pipeline.sources.sample.roads import car, car_park, carriageway, yard
from pipeline.sources.sample.spectra import INDEX

SOILS = ("soil_sand", "soil_loam", "soil_humus", "soil_clay")
Filler = Callable[[Canvas, np.random.Generator, Box], None]


def ploughed(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Bare soil: furrows, or a finer seedbed with the tracks of a tractor."""
    canvas.fill(box, str(rng.choice(SOILS)), rng.lognormal(0.0, 0.15), rng.normal(0.0, 0.04))
    period, depth = rng.uniform(3.0, 6.5), rng.uniform(0.10, 0.22)
    wave = np.sin(canvas.across(box) * (2 * np.pi / period) + rng.uniform(0, 6))
    canvas.shade(box, (1.0 + depth * wave).astype(np.float32))
    spacing, phase = rng.uniform(12.0, 24.0), rng.uniform(0.0, 12.0)
    wheels = (canvas.across(box) + phase) % spacing
    ruts = (wheels < 0.6) | ((wheels > 1.8) & (wheels < 2.4))
    canvas.shade(box, np.where(ruts, 0.82, 1.0).astype(np.float32))


def fallow(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Bare soil, not tilled: crusts, wet hollows, clods."""
    canvas.fill(box, str(rng.choice(SOILS)), rng.lognormal(0.0, 0.15), rng.normal(0.0, 0.04))
    shape = canvas.points(box)
    hollows = smooth_noise(rng, shape, 12.0 / canvas.step)
    clods = smooth_noise(rng, shape, 2.2 / canvas.step)
    canvas.shade(box, np.clip(1.0 + 0.12 * hollows + 0.13 * clods, 0.5, 1.5))


def mown(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Mown grass in stripes to and fro."""
    canvas.fill(box, "grass_mown", rng.lognormal(0.0, 0.12), rng.normal(0.0, 0.04))
    stripes = np.where(canvas.across(box) % 14.0 < 7.0, 1.07, 0.94)
    canvas.shade(box, stripes.astype(np.float32))


def hay(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Hay or stubble lying in windrows."""
    name = str(rng.choice(["grass_hay", "grass_dry"]))
    canvas.fill(box, name, rng.lognormal(0.0, 0.12), rng.normal(0.0, 0.04))
    period = rng.uniform(5.0, 9.0)
    rows = np.clip(np.sin(canvas.across(box) * (2 * np.pi / period)), 0.0, 1.0)
    canvas.shade(box, (0.95 + rng.uniform(0.05, 0.2) * rows).astype(np.float32))


def pasture(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Tussocks, dry patches, and a tree here and there."""
    name = str(rng.choice(["grass_lush", "grass_hay", "grass_dry"]))
    canvas.fill(box, name, rng.lognormal(0.0, 0.12), rng.normal(0.0, 0.04))
    shape = canvas.points(box)
    tussocks = smooth_noise(rng, shape, rng.uniform(3.0, 6.0) / canvas.step)
    canvas.shade(box, np.clip(1.0 + rng.uniform(0.05, 0.16) * tussocks, 0.6, 1.5))
    ground = canvas.material[canvas.cut(box)]
    ground[smooth_noise(rng, shape, 25.0 / canvas.step) > 1.2] = INDEX["grass_dry"]
    # Green tufts are what tells dry grass from bare soil of its colour.
    ground[smooth_noise(rng, shape, 1.7 / canvas.step) > 0.9] = INDEX["grass_lush"]
    canvas.canopy[canvas.cut(box)] = rng.choice([0, 0, 1])


FIELDS: tuple[Filler, ...] = (ploughed, ploughed, fallow, mown, hay, pasture)


def farmland(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Fields side by side, margins of grass or hedges between them."""
    if rng.random() < 0.5:
        canvas, box = canvas.turned(), box.turned()
    canvas.fill(box, "grass_hay", rng.lognormal(0.0, 0.1))
    hedge = int(rng.choice([0, 0, 55]))
    left = box.left
    while left < box.right - 10.0:
        right = min(box.right, left + rng.uniform(45.0, 110.0))
        canvas.canopy[canvas.cut(box._replace(left=left, right=left + 3.0))] = hedge
        field = box._replace(left=left + 2.0, right=right - 1.0)
        filler = FIELDS[rng.integers(len(FIELDS))]
        if rng.random() < 0.5:
            filler(canvas, rng, field)
        else:
            filler(canvas.turned(), rng, field.turned())
        left = right


def meadow(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """One pasture all over."""
    pasture(canvas, rng, box)


def forest(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """A wood with glades."""
    pasture(canvas, rng, box)
    where = canvas.cut(box)
    edge = np.minimum(canvas.across(box), box.width - canvas.across(box))
    edge = np.minimum(edge, np.minimum(canvas.down(box), box.height - canvas.down(box)))
    wood = smooth_noise(rng, canvas.points(box), 28.0 / canvas.step) > 1.0 - 0.2 * edge.clip(0, 12)
    canvas.material[where][wood] = INDEX["undergrowth"]
    canvas.canopy[where] = np.where(wood, 97, 4)


def park(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Mown lawn with groups of trees."""
    mown(canvas, rng, box)
    groups = smooth_noise(rng, canvas.points(box), 22.0 / canvas.step) > 0.7
    canvas.canopy[canvas.cut(box)] = np.where(groups, 70, 2)


def village(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Streets with houses in gardens."""
    if box.height > box.width:
        canvas, box = canvas.turned(), box.turned()
    canvas.fill(box, "grass_mown", rng.lognormal(0.0, 0.08))
    canvas.canopy[canvas.cut(box)] = rng.integers(4, 16)
    roofs = rng.choice(PITCHED, 3)
    for row in box.turned().strips(27.0, 0.0):
        _house_row(canvas, rng, row.turned(), roofs)
    for top in np.arange(box.top + 54.0, box.bottom - 20.0, 54.0):
        street = box._replace(top=top - 3.5, bottom=top + 3.5)
        carriageway(canvas, rng, street, "asphalt_aged")


def _house_row(
    canvas: Canvas,
    rng: np.random.Generator,
    row: Box,
    roofs: np.ndarray[tuple[int], np.dtype[np.str_]],
) -> None:
    """A house a plot, a drive and sometimes a shed."""
    for plot in row.strips(rng.uniform(15.0, 20.0)):
        deep, wide = rng.uniform(9.0, 13.0), rng.uniform(10.0, min(14.0, plot.width - 2.0))
        top, left = plot.top + rng.uniform(6.0, 8.0), plot.left + rng.uniform(0.5, 2.0)
        house = Box(top, left, top + deep, left + wide)
        if not canvas.is_dry(plot) or rng.random() < 0.06:
            continue
        canvas.fill(Box(plot.top, left + wide - 3, plot.bottom - 4, left + wide), "concrete", 0.9)
        pitched(canvas, rng, house, str(rng.choice(roofs)))
        if rng.random() < 0.4:
            shed = Box(plot.bottom - 5.0, left, plot.bottom - 1.5, left + rng.uniform(3.0, 6.0))
            canvas.fill(shed, "roof_metal", rng.uniform(0.4, 1.0), 0.0, 2.5)


def town(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Dense blocks: roof by roof along streets, small courts within."""
    yard(canvas, rng, box)
    roofs = rng.choice([*PITCHED, *FLAT], 5)
    for column in box.inset(2.0).strips(rng.uniform(46.0, 60.0), 10.0):
        for block in column.turned().strips(rng.uniform(44.0, 70.0), 10.0):
            _dense_block(canvas, rng, block.turned(), roofs)


def _dense_block(
    canvas: Canvas,
    rng: np.random.Generator,
    block: Box,
    roofs: np.ndarray[tuple[int], np.dtype[np.str_]],
) -> None:
    """Buildings wall to wall around and within a block."""
    columns = block.strips(block.width / rng.integers(2, 4))
    for column in columns:
        top = block.top
        while top < block.bottom - 6.0:
            bottom = min(block.bottom, top + rng.uniform(11.0, 24.0))
            house = Box(top, column.left, bottom, column.right)
            _town_house(canvas, rng, house, str(rng.choice(roofs)))
            top = bottom
    court = block.inset(block.height * 0.4)
    if court.width > 5.0 and canvas.is_dry(block) and rng.random() < 0.6:
        canvas.fill(court, "grass_mown", 0.9)
        canvas.canopy[canvas.cut(court)] = 30


def _town_house(canvas: Canvas, rng: np.random.Generator, house: Box, roof: str) -> None:
    if not canvas.is_dry(house):
        return
    if roof in PITCHED:
        pitched(canvas, rng, house, roof)
    else:
        flat(canvas, rng, house, rng.uniform(6.0, 16.0), roof)


def industry(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Large halls, yards between them."""
    yard(canvas, rng, box)
    left = box.left + rng.uniform(3.0, 8.0)
    while left < box.right - 30.0:
        right = min(box.right - 4.0, left + rng.uniform(35.0, 80.0))
        column = box._replace(left=left, right=right, top=box.top + 4.0, bottom=box.bottom - 4.0)
        _halls(canvas, rng, column)
        left = right + rng.uniform(8.0, 14.0)


def _halls(canvas: Canvas, rng: np.random.Generator, column: Box) -> None:
    top = column.top
    while top < column.bottom - 22.0:
        bottom = min(column.bottom, top + rng.uniform(35.0, 90.0))
        hall = Box(top, column.left, bottom, column.right)
        if canvas.is_dry(hall) and rng.random() < 0.75:
            flat(canvas, rng, hall, rng.uniform(6.0, 12.0))
        elif canvas.is_dry(hall):
            saw_tooth(canvas, rng, hall)
        top = bottom + rng.uniform(7.0, 14.0)


def retail(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """A large shop behind its car park."""
    if box.height > box.width:
        canvas, box = canvas.turned(), box.turned()
    split = box.left + box.width * rng.uniform(0.35, 0.5)
    canvas.fill(box, "asphalt_aged")
    car_park(canvas, rng, box._replace(left=split))
    shop = box._replace(right=split - 6.0).inset(3.0)
    if canvas.is_dry(shop):
        flat(canvas, rng, shop, rng.uniform(6.0, 9.0))


def pit(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """A gravel pit or building site: heaps, terraces, tracks, machines."""
    base, other = rng.choice(["gravel", "rock", "soil_sand", "soil_clay"], 2, replace=False)
    canvas.fill(box, str(base), rng.lognormal(0.0, 0.12), rng.normal(0.0, 0.03))
    where, shape = canvas.cut(box), canvas.points(box)
    relief = smooth_noise(rng, shape, 18.0 / canvas.step)
    canvas.material[where][smooth_noise(rng, shape, 14.0 / canvas.step) > 0.6] = INDEX[str(other)]
    canvas.height[where] = 1.8 * relief + 4.0
    canvas.height[where] += 0.45 * smooth_noise(rng, shape, 2.5 / canvas.step)
    for _ in range(rng.poisson(3)):
        top, left = rng.uniform(box.top, box.bottom - 8), rng.uniform(box.left, box.right - 8)
        car(canvas, rng, Box(top, left, top + 3.0, left + 6.0))
