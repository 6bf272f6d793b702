"""Roofs of many materials, flat and pitched, with what stands on them."""

from __future__ import annotations

import numpy as np

from pipeline.sources.sample.canvas import Box, Canvas

PITCHED = ("roof_tile", "roof_tile", "roof_cedar", "roof_slate", "roof_shingle", "roof_metal")
FLAT = (
    "roof_gravel", "roof_gravel", "roof_tar", "roof_metal", "roof_membrane", "roof_concrete",
    "roof_concrete", "roof_shingle", "roof_sedum",
)  # fmt: skip


def pitched(
    canvas: Canvas, rng: np.random.Generator, box: Box, material: str | None = None
) -> None:
    """A gabled or hipped roof, its ridge along the longer side."""
    if box.height > box.width:
        canvas, box = canvas.turned(), box.turned()
    eaves, slope = rng.uniform(3.0, 7.0), rng.uniform(0.45, 0.9)
    rise = np.minimum(canvas.down(box), box.height - canvas.down(box))
    if rng.random() < 0.4:
        ends = np.minimum(canvas.across(box), box.width - canvas.across(box))
        rise = np.minimum(rise, ends)
    rows, cols = canvas.points(box)
    height = np.broadcast_to(eaves + slope * np.clip(rise, 0.0, None), (rows, cols))
    name = material or str(rng.choice(PITCHED))
    canvas.fill(box, name, rng.lognormal(0.0, 0.12), rng.normal(0.0, 0.03), height)
    left, top = rng.uniform(box.left, box.right - 1.5), box.top + box.height * rng.uniform(0.3, 0.6)
    canvas.fill(Box(top, left, top + 1.0, left + 1.0), "roof_unit", 0.6, 0.1, eaves + 5.0)


def _units(canvas: Canvas, rng: np.random.Generator, box: Box, height: float) -> None:
    """Ventilators and lift houses."""
    for _ in range(1 + rng.poisson(box.width * box.height / 220)):
        high, wide = rng.uniform(1.5, 4.5, 2)
        top = rng.uniform(box.top, max(box.top + 0.1, box.bottom - high))
        left = rng.uniform(box.left, max(box.left + 0.1, box.right - wide))
        unit = Box(top, left, min(top + high, box.bottom), min(left + wide, box.right))
        above = height + rng.uniform(1.0, 3.0)
        canvas.fill(unit, "roof_unit", rng.lognormal(-0.2, 0.3), 0.0, above)


def _skylights(canvas: Canvas, rng: np.random.Generator, box: Box, height: float) -> None:
    """Strips of glass in rows."""
    period, factor = rng.uniform(8.0, 14.0), float(rng.choice([0.45, 1.5]))
    for strip in box.strips(1.5, period):
        for pane in strip.turned().strips(6.0, 3.0):
            canvas.shade(pane.turned(), factor)


def _seams(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """Joints between sheets."""
    period = rng.uniform(2.5, 7.0)
    canvas.shade(box, np.where(canvas.across(box) % period < 0.6, 0.84, 1.0).astype(np.float32))


def flat(
    canvas: Canvas, rng: np.random.Generator, box: Box, height: float, material: str | None = None
) -> None:
    """A flat roof: parapet, seams, skylights and units."""
    if rng.random() < 0.5:
        canvas, box = canvas.turned(), box.turned()
    name = material or str(rng.choice(FLAT))
    tint, warmth = rng.lognormal(0.0, 0.14), rng.normal(0.0, 0.03)
    canvas.fill(box, name, tint * rng.uniform(0.8, 1.3), warmth, height + 0.9)
    inner = box.inset(0.8)
    canvas.fill(inner, name, tint, warmth, height)
    if rng.random() < 0.75:
        _seams(canvas, rng, inner)
    if min(inner.width, inner.height) > 18.0 and rng.random() < 0.5:
        _skylights(canvas, rng, inner.inset(3.0), height)
    _units(canvas, rng, inner.inset(1.0), height)


def saw_tooth(canvas: Canvas, rng: np.random.Generator, box: Box) -> None:
    """A hall of many small gables side by side."""
    if rng.random() < 0.5:
        canvas, box = canvas.turned(), box.turned()
    period, base = rng.uniform(7.0, 14.0), rng.uniform(5.0, 9.0)
    phase = canvas.across(box) % period
    rise = np.minimum(phase, period - phase) * np.float32(rng.uniform(0.2, 0.5))
    name = str(rng.choice(FLAT[:-1]))
    canvas.fill(box, name, rng.lognormal(0.0, 0.14), rng.normal(0.0, 0.03), base + rise)
    _seams(canvas.turned(), rng, box.turned())
