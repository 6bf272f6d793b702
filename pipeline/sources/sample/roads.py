"""Roads and car parks: wear, paint, cars, junctions."""

from __future__ import annotations

import numpy as np

from pipeline.sources.sample.canvas import Box, Canvas

LANE = 3.5  # metres
PAVEMENTS = ("asphalt_new", "asphalt_aged", "asphalt_aged", "asphalt_worn", "concrete")


def car(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """A vehicle, from black to white, some coloured."""
    tint = float(rng.choice([0.25, 0.5, 1.2, 2.2, 3.0])) * rng.uniform(0.8, 1.2)
    canvas.fill(box, "car", tint, rng.normal(0.0, 0.15), 1.5)


def _patches(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Repairs: rectangles darker or lighter than the rest."""
    for _ in range(rng.poisson(box.width * box.height / 700)):
        left = rng.uniform(box.left, box.right - 6.0)
        top = rng.uniform(box.top, max(box.top + 0.1, box.bottom - 4.0))
        bottom = min(top + rng.uniform(2.0, 4.0), box.bottom)
        canvas.shade(Box(top, left, bottom, left + rng.uniform(4, 25)), rng.uniform(0.75, 1.12))


def carriageway(canvas: Canvas, rng: np.random.Generator, box: Box, pavement: str) -> None:
    """Lanes from left to right: pavement, wheel tracks, repairs, paint and traffic."""
    lanes = max(1, int(box.height // LANE))
    lane = box.height / lanes
    canvas.fill(box, pavement, rng.lognormal(0.0, 0.10), rng.normal(0.0, 0.02))
    _patches(canvas, rng, box)
    busy = rng.uniform(0.004, 0.02)
    for i in range(lanes):
        middle = box.top + (i + 0.5) * lane
        for track in (middle - 0.8, middle + 0.8):
            canvas.shade(box._replace(top=track - 0.35, bottom=track + 0.35), 0.92)
        if i > 0:
            edge = box.top + i * lane
            _dashes(canvas, box._replace(top=edge - 0.25, bottom=edge + 0.25), lanes == 2)
        for left in rng.uniform(box.left, box.right - 5.0, rng.poisson(busy * box.width)):
            length = 4.5 if rng.random() < 0.85 else 11.0
            car(canvas, rng, Box(middle - 1.0, left, middle + 1.0, left + length))
    if box.height > 9.0:
        for edge in (box.top + 0.6, box.bottom - 0.6):
            canvas.fill(box._replace(top=edge - 0.25, bottom=edge + 0.25), "paint", 0.85)


def _dashes(canvas: Canvas, line: Box, is_middle: bool) -> None:
    """A dashed line: 3 m of paint, then a gap."""
    period = 6.0 if is_middle else 9.0
    canvas.mark(line, "paint", 0.9, canvas.across(line) % period < 3.0)


def road(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """A road from left to right with its verges; two carriageways where it is wide."""
    pavement = str(rng.choice(PAVEMENTS))
    verge = rng.uniform(1.5, 3.0)
    around = box._replace(top=box.top - verge, bottom=box.bottom + verge)
    ground = str(
        rng.choice(["grass_mown", "grass_hay", "gravel", "concrete"], p=[0.5, 0.2, 0.2, 0.1])
    )
    canvas.fill(around, ground, rng.lognormal(0.0, 0.1))
    if box.height < 24.0:
        carriageway(canvas, rng, box, pavement)
        return
    middle = (box.top + box.bottom) / 2
    canvas.fill(box, "grass_mown", 0.95)
    carriageway(canvas, rng, box._replace(bottom=middle - 1.2), pavement)
    carriageway(canvas, rng, box._replace(top=middle + 1.2), pavement)


def track(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """A dirt track from left to right: two ruts."""
    canvas.fill(box, "soil_sand", rng.lognormal(0.0, 0.1))
    middle = (box.top + box.bottom) / 2
    canvas.fill(box._replace(top=middle - 0.5, bottom=middle + 0.5), "grass_hay", 0.9)


def yard(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Pavement to work on: slabs or repairs, lorries, a few lines."""
    pavement = str(rng.choice(PAVEMENTS))
    canvas.fill(box, pavement, rng.lognormal(0.0, 0.1), rng.normal(0.0, 0.02))
    _patches(canvas, rng, box)
    slab = rng.uniform(4.5, 8.0)
    joints = (canvas.across(box) % slab < 0.5) | (canvas.down(box) % slab < 0.5)
    canvas.shade(box, np.where(joints, rng.uniform(0.78, 0.9), 1.0).astype(np.float32))
    for _ in range(rng.poisson(box.width * box.height / 500)):
        top, left = rng.uniform(box.top, box.bottom - 12), rng.uniform(box.left, box.right - 12)
        high, wide = (2.6, 11.0) if rng.random() < 0.5 else (11.0, 2.6)
        car(canvas, rng, Box(top, left, top + high, left + wide))


def car_park(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Rows of stalls with aisles between them, partly taken."""
    canvas.fill(box, str(rng.choice(PAVEMENTS)), rng.lognormal(0.0, 0.1), rng.normal(0.0, 0.02))
    _patches(canvas, rng, box)
    taken = rng.uniform(0.1, 0.85)
    for row in box.inset(2.0).turned().strips(10.0, 6.5):
        bay = row.turned()
        for stall in bay.strips(2.5):
            canvas.fill(stall._replace(right=stall.left + canvas.step), "paint", 0.8)
            for top in (stall.top + 0.3, stall.top + 5.2):
                if rng.random() < taken:
                    body = Box(top, stall.left + 0.6, top + 4.4, stall.left + 2.4)
                    car(canvas, rng, body)
        spine = (bay.top + bay.bottom) / 2
        canvas.fill(bay._replace(top=spine - 0.25, bottom=spine + 0.25), "paint", 0.8)
