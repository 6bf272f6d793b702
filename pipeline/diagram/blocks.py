"""Pieces of a diagram, put together from the inside out: all sizes in pixels, y downwards.

A block is a rectangle that a tile enters at the top and leaves at the bottom, both at ``axis``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

GAP = 18.0  # from box to box, room for an arrow
TURN = 9.0  # from where a line splits to its turn
APART = 18.0  # between branches
PAD = 10.0  # inside a frame
HEAD = 24.0  # of a frame's title
BOX_HEIGHT = 40.0
RADIUS = 9.0  # of a joint
FONT, SMALL = 13.0, 11.5  # of a name, and of what is said about it


@dataclass(frozen=True)
class Box:
    """A layer."""

    x: float
    y: float
    width: float
    height: float
    name: str
    size: str
    type: str
    kind: str
    hint: str
    path: str = ""  # its dotted name; none of what is no layer


@dataclass(frozen=True)
class Frame:
    """What holds layers."""

    x: float
    y: float
    width: float
    height: float
    name: str
    size: str
    type: str
    path: str = ""


@dataclass(frozen=True)
class Joint:
    """Where branches come together; x and y are its middle."""

    x: float
    y: float
    label: str  # "+", or "concat"

    @property
    def half(self) -> float:
        """Half its width."""
        return max(RADIUS, measure(self.label, SMALL) / 2 + 7)


@dataclass(frozen=True)
class Wire:
    """A line through points, with an arrow at its end or without."""

    points: tuple[tuple[float, float], ...]
    arrow: bool = True


Item = Box | Frame | Joint | Wire


@dataclass(frozen=True)
class Block:
    """Items inside a rectangle; ``open`` ones begin with a line of their own."""

    width: float
    height: float
    axis: float
    items: tuple[Item, ...]
    open: bool = False


def moved(items: Iterable[Item], right: float, down: float) -> list[Item]:
    """The same items elsewhere."""
    return [
        replace(item, points=tuple((x + right, y + down) for x, y in item.points))
        if isinstance(item, Wire)
        else replace(item, x=item.x + right, y=item.y + down)
        for item in items
    ]


def measure(text: str, size: float, *, bold: bool = False) -> float:
    """Width of a text: no narrower than in Verdana, the widest font that a browser may choose."""
    return sum(_advance(character) for character in text) * size * (1.13 if bold else 1.0)


def _advance(character: str) -> float:
    if character in "ijlI.,:;'|! ()":
        return 0.46
    if character in "mwMW%@+":
        return 1.0
    return 0.77 if character.isupper() else 0.65


def box(name: str, size: str, type: str, kind: str, hint: str = "", path: str = "") -> Block:
    """A layer: its name and its output's size above, its type below."""
    top = measure(name, FONT, bold=True) + 14 + measure(size, SMALL)
    width = max(170.0, top + 22, measure(type, SMALL) + 22)
    shape = Box(0, 0, width, BOX_HEIGHT, name, size, type, kind, hint, path)
    return Block(width, BOX_HEIGHT, width / 2, (shape,))


def stacked(blocks: Sequence[Block]) -> Block:
    """One below the other, with arrows between."""
    axis = max(block.axis for block in blocks)
    width = axis + max(block.width - block.axis for block in blocks)
    items: list[Item] = []
    y = 0.0
    for number, block in enumerate(blocks):
        if number:
            gap = TURN if block.open else GAP
            items.append(Wire(((axis, y), (axis, y + gap)), arrow=not block.open))
            y += gap
        items += moved(block.items, axis - block.axis, y)
        y += block.height
    return Block(width, y, axis, tuple(items), open=blocks[0].open)


def bypassed(body: Block, label: str, side: Block | None = None) -> Block:
    """A block with a line around it, through another block or not, that join below."""
    top = TURN if body.open else TURN + GAP
    down = max(top + body.height, 0 if side is None else TURN + GAP + side.height)
    joint = Joint(body.axis, down + GAP + RADIUS, label)
    lane = max(body.width, joint.x + joint.half) + APART
    lane += 0 if side is None else side.axis
    items: list[Item] = [
        Wire(((body.axis, 0), (body.axis, top)), arrow=not body.open),
        *moved(body.items, 0, top),
        Wire(((body.axis, top + body.height), (body.axis, joint.y - RADIUS))),
    ]
    start = ((body.axis, TURN), (lane, TURN))
    end = ((lane, joint.y), (joint.x + joint.half, joint.y))
    if side is None:
        items.append(Wire((*start, *end)))
    else:
        y = TURN + GAP + (down - TURN - GAP - side.height) / 2
        items += [Wire((*start, (lane, y))), *moved(side.items, lane - side.axis, y)]
        items.append(Wire(((lane, y + side.height), *end)))
    right = lane + (2.0 if side is None else side.width - side.axis)
    return Block(right, joint.y + RADIUS, body.axis, (*items, joint), open=True)


def branched(blocks: Sequence[Block], label: str) -> Block:
    """Side by side, from one line and into one joint."""
    top = TURN + GAP
    starts = [
        sum(block.width + APART for block in blocks[:number]) for number in range(len(blocks))
    ]
    axes = [start + block.axis for start, block in zip(starts, blocks, strict=True)]
    axis = (axes[0] + axes[-1]) / 2
    height = max(block.height for block in blocks)
    joint = Joint(axis, top + height + GAP + RADIUS, label)
    items: list[Item] = []
    for start, x, block in zip(starts, axes, blocks, strict=True):
        first = ((axis, 0), (x, 0)) if x == axis else ((axis, 0), (axis, TURN), (x, TURN))
        items.append(Wire((*first, (x, top)), arrow=not block.open))
        items += moved(block.items, start, top)
        below = (x, top + block.height)
        if abs(x - axis) <= joint.half:
            items.append(Wire((below, (x, joint.y - RADIUS))))
        else:
            edge = joint.x + (joint.half if x > axis else -joint.half)
            items.append(Wire((below, (x, joint.y), (edge, joint.y))))
    width = starts[-1] + blocks[-1].width
    return Block(width, joint.y + RADIUS, axis, (*items, joint), open=True)


def framed(inside: Block, name: str, size: str, type: str, path: str = "") -> Block:
    """A block in a frame with a title."""
    title = measure(name, FONT, bold=True) + measure(type, SMALL) + measure(size, SMALL) + 44
    width = max(title, inside.width + 2 * PAD)
    left = (width - inside.width) / 2
    entry = 0.0 if inside.open else GAP
    axis = left + inside.axis
    bottom = HEAD + entry + inside.height
    items: list[Item] = [Frame(0, 0, width, bottom + PAD, name, size, type, path)]
    if entry:
        items.append(Wire(((axis, HEAD), (axis, HEAD + entry))))
    items += moved(inside.items, left, HEAD + entry)
    items.append(Wire(((axis, bottom), (axis, bottom + PAD)), arrow=False))
    return Block(width, bottom + PAD, axis, tuple(items))
