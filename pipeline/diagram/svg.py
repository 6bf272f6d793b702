"""A diagram as SVG: one text that carries its own style, for light and for dark."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pipeline.diagram.blocks import FONT, HEAD, RADIUS, SMALL, Block, Box, Frame, Item, Joint, Wire
from pipeline.diagram.blocks import measure as width_of
from pipeline.diagram.layout import KINDS, OTHER

MARGIN = 16.0
LINE = 22.0  # of the legend
# Okabe and Ito's colours, told apart by the colour-blind too (https://jfly.uni-koeln.de/color/).
COLOURS = {
    "convolution": "#0072B2",
    "pooling": "#E69F00",
    "normalization": "#009E73",
    "activation": "#D55E00",
    "linear": "#CC79A7",
    OTHER: "#8A9199",
}
# Every rule begins with the diagram's own class: inside a page a style holds for all of the page.
STYLE = """
.network-diagram { --paper: #ffffff; --ink: #1d2328; --faint: #5c666f; --line: #7b858e;
  --frame: #b9c0c6; --tint: 0.13; font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
@media (prefers-color-scheme: dark) { .network-diagram { --paper: #1e2327; --ink: #e8eaec;
  --faint: #a0aab3; --line: #8d979f; --frame: #4b545c; --tint: 0.3; } }
.network-diagram .paper { fill: var(--paper); }
.network-diagram .fill { fill-opacity: var(--tint); stroke-opacity: 0.9; stroke-width: 1; }
.network-diagram .frame { fill: none; stroke: var(--frame); stroke-width: 1.2; }
.network-diagram .title { fill: var(--frame); fill-opacity: 0.22; }
.network-diagram .wire { fill: none; stroke: var(--line); stroke-width: 1.4; }
.network-diagram .head { fill: var(--line); }
.network-diagram .joint { fill: var(--paper); stroke: var(--line); stroke-width: 1.4; }
.network-diagram .name { fill: var(--ink); font-weight: 600; }
.network-diagram .text { fill: var(--ink); }
.network-diagram .faint { fill: var(--faint); }
""".strip()  # noqa: E501


def draw(diagram: Block, title: str, description: str) -> str:
    """The diagram with its legend; the same network gives the same bytes.

    Args:
        diagram: From ``layout.arrange``.
        title: What a screen reader says first.
        description: What it says then.
    """
    present = {item.kind for item in diagram.items if isinstance(item, Box)}
    kinds = [kind for kind in (*KINDS, OTHER) if kind in present]
    width = max(diagram.width, 320.0)
    lines = _legend(kinds, width)
    height = diagram.height + MARGIN + LINE * len(lines)
    full = f"{_n(width + 2 * MARGIN)} {_n(height + 2 * MARGIN)}"
    left = MARGIN + (width - diagram.width) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="network-diagram" viewBox="0 0 {full}" '
        f'width="{full.split()[0]}" height="{full.split()[1]}" role="img" '
        'aria-labelledby="network-title network-description">',
        f'<title id="network-title">{escape(title)}</title>',
        f'<desc id="network-description">{escape(description)}</desc>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="network-arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path class="head" d="M0 0.8 L8 4 L0 7.2 Z"/></marker>'
        "</defs>",
        '<rect class="paper" width="100%" height="100%" rx="10"/>',
        f'<g transform="translate({_n(left)} {_n(MARGIN)})">',
        *(_item(item) for item in _ordered(diagram.items)),
        "</g>",
    ]
    for number, line in enumerate(lines):
        y = MARGIN + diagram.height + MARGIN + LINE * number
        parts.append(f'<g transform="translate({_n(MARGIN)} {_n(y)})">{"".join(line)}</g>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ordered(items: Sequence[Item]) -> list[Item]:
    """What lies behind comes first."""
    order = (Frame, Wire, Box, Joint)
    return sorted(items, key=lambda item: order.index(type(item)))


def _item(item: Item) -> str:
    if isinstance(item, Frame):
        return _frame(item)
    if isinstance(item, Box):
        return _box(item)
    if isinstance(item, Joint):
        return _joint(item)
    path = " L".join(f"{_n(x)} {_n(y)}" for x, y in item.points)
    arrow = ' marker-end="url(#network-arrow)"' if item.arrow else ""
    return f'<path class="wire" d="M{path}"{arrow}/>'


def _box(box: Box) -> str:
    colour = COLOURS[box.kind]
    place = f'x="{_n(box.x)}" y="{_n(box.y)}"'
    left, right = box.x + 12, box.x + box.width - 10
    hint = f"<title>{escape(box.hint)}</title>" if box.hint else ""
    return (
        f"<g{_layer(box.path)}>{hint}"
        f'<rect class="paper" {place} width="{_n(box.width)}" height="{_n(box.height)}" rx="5"/>'
        f'<rect class="fill" {place} width="{_n(box.width)}" height="{_n(box.height)}" rx="5" '
        f'fill="{colour}" stroke="{colour}"/>'
        f'<rect {place} width="5" height="{_n(box.height)}" rx="2.5" fill="{colour}"/>'
        f"{_text(left, box.y + 17, box.name, 'name', FONT)}"
        f"{_text(right, box.y + 17, box.size, 'text', SMALL, end=True)}"
        f"{_text(left, box.y + 33, box.type, 'faint', SMALL)}</g>"
    )


def _frame(frame: Frame) -> str:
    place = f'x="{_n(frame.x)}" y="{_n(frame.y)}" width="{_n(frame.width)}"'
    after = frame.x + 18 + width_of(frame.name, FONT, bold=True)
    right = frame.x + frame.width - 10
    return (
        f'<rect class="frame" {place} height="{_n(frame.height)}" rx="7"/><g{_layer(frame.path)}>'
        f'<rect class="title" {place} height="{_n(HEAD)}" rx="7"/>'
        f"{_text(frame.x + 10, frame.y + 16.5, frame.name, 'name', FONT)}"
        f"{_text(after, frame.y + 16.5, frame.type, 'faint', SMALL)}"
        f"{_text(right, frame.y + 16.5, frame.size, 'text', SMALL, end=True)}</g>"
    )


def _layer(path: str) -> str:
    """What a page finds a layer's shape by."""
    return f' data-layer="{escape(path)}"' if path else ""


def _joint(joint: Joint) -> str:
    return (
        f'<rect class="joint" x="{_n(joint.x - joint.half)}" y="{_n(joint.y - RADIUS)}" '
        f'width="{_n(2 * joint.half)}" height="{_n(2 * RADIUS)}" rx="{_n(RADIUS)}"/>'
        f'<text class="text" x="{_n(joint.x)}" y="{_n(joint.y + 4)}" font-size="{_n(SMALL)}" '
        f'text-anchor="middle">{escape(joint.label)}</text>'
    )


def _legend(kinds: Sequence[str], width: float) -> list[list[str]]:
    """Swatches with their kind, in as many lines as needed."""
    lines: list[list[str]] = [[]]
    x = 0.0
    for kind in kinds:
        step = 20 + width_of(kind, SMALL) + 22
        if lines[-1] and x + step > width:
            lines.append([])
            x = 0.0
        colour = COLOURS[kind]
        lines[-1].append(
            f'<rect class="fill" x="{_n(x)}" y="0.5" width="13" height="13" rx="3" '
            f'fill="{colour}" stroke="{colour}"/>'
            f'<rect x="{_n(x)}" y="0.5" width="5" height="13" rx="2.5" fill="{colour}"/>'
            f"{_text(x + 20, 11, kind, 'faint', SMALL)}"
        )
        x += step
    return lines


def _text(x: float, y: float, text: str, style: str, size: float, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return (
        f'<text class="{style}" x="{_n(x)}" y="{_n(y)}" font-size="{_n(size)}"{anchor}>'
        f"{escape(text)}</text>"
    )


def _n(value: float) -> str:
    """A number of at most one decimal, the same on every machine."""
    return f"{round(value, 1):g}"
