"""The picture of a network: every layer is there, nothing overlaps, lines lead somewhere."""

from __future__ import annotations

import re
import shutil
from itertools import combinations
from xml.etree import ElementTree

import pytest

from pipeline.analysis import layers, parts
from pipeline.composites import Dense, Parallel, Residual
from pipeline.diagram import arrange, draw
from pipeline.diagram.blocks import Block, Box, Frame, Joint, Wire, measure
from pipeline.diagram.svg import COLOURS, STYLE
from pipeline.network import Network
from tests.networks import (
    AUTOENCODER,
    EVERYTHING,
    FLATTEN,
    HEAD,
    MEANS,
    MODELS,
    RELU,
    conv,
    model,
    network,
    ours,
)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or "/usr/bin/chromium"
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
Rectangle = tuple[float, float, float, float]
NESTED = {
    "block": ours(
        "Residual",
        inner=ours("Residual", a=ours("Parallel", a=conv(4, 1), b={"c": conv(4, 1), "r": RELU})),
        projection={"c": conv(8, 1), "r": RELU},
    ),
    "wide": ours("Parallel", **{f"a_branch_with_a_long_name_{i}": conv(2, 1) for i in range(5)}),
    "dense": ours("Dense", one=ours("Dense", two=conv(4, 1), three=ours("Residual", c=conv(4, 1)))),
    "means": MEANS,
    "head": HEAD,
}
LONG = {f"c{i}": conv(4, 3, padding=1) for i in range(70)} | {"means": MEANS, "head": HEAD}


def networks() -> dict[str, Network]:
    made = {name: model(name) for name in MODELS}
    made |= {"everything": network(EVERYTHING), "nested": network(NESTED), "long": network(LONG)}
    return made | {"autoencoder": network(AUTOENCODER, task="reconstruct")}


NETWORKS = networks()


@pytest.fixture(params=NETWORKS)
def made(request: pytest.FixtureRequest) -> Network:
    found: Network = NETWORKS[request.param]
    return found


def around(item: Box | Frame | Joint) -> Rectangle:
    if isinstance(item, Joint):
        return item.x - item.half, item.y - 9, item.x + item.half, item.y + 9
    return item.x, item.y, item.x + item.width, item.y + item.height


def overlap(one: Rectangle, other: Rectangle) -> bool:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across > 0.1 and down > 0.1


def inside(inner: Rectangle, outer: Rectangle) -> bool:
    lower = inner[0] >= outer[0] and inner[1] >= outer[1]
    return lower and inner[2] <= outer[2] and inner[3] <= outer[3]


def crosses(wire: Wire, box: Rectangle) -> bool:
    """Whether a line runs through the inside of a box; its edge may be touched."""
    return any(
        overlap(
            (min(a[0], b[0]) - 0.2, min(a[1], b[1]), max(a[0], b[0]) + 0.2, max(a[1], b[1]) + 0.2),
            (box[0] + 0.5, box[1] + 0.5, box[2] - 0.5, box[3] - 0.5),
        )
        for a, b in zip(wire.points, wire.points[1:], strict=False)
    )


def test_every_layer_is_a_box_and_every_composite_a_frame(made: Network) -> None:
    items = arrange(made).items
    composites = len(layers(made)) - len(parts(made))
    boxes = [item for item in items if isinstance(item, Box)]
    assert len(boxes) == len(parts(made)) + 1  # the tile
    assert len([item for item in items if isinstance(item, Frame)]) == composites
    names = sorted(name.rpartition(".")[2] for name, _ in parts(made))
    assert sorted(box.name for box in boxes if box.name != "tile") == names


def test_every_junction_has_its_joint(made: Network) -> None:
    labels = sorted(item.label for item in arrange(made).items if isinstance(item, Joint))
    expected = []
    for module in made.modules():
        if isinstance(module, Parallel):
            expected.append("concat" if module.join == "concat" else "+")
        elif isinstance(module, Residual):
            expected.append("+")
        elif isinstance(module, Dense):
            expected += ["concat"] * len(list(module.children()))
    assert labels == sorted(expected)


def test_nothing_overlaps(made: Network) -> None:
    items = arrange(made).items
    solid = [item for item in items if isinstance(item, Box | Joint)]
    assert not [
        (one, other) for one, other in combinations(solid, 2) if overlap(around(one), around(other))
    ]
    for frame in (item for item in items if isinstance(item, Frame)):
        for item in solid:
            free = not overlap(around(item), around(frame))
            assert free or inside(around(item), around(frame)), (item, frame)
        title = (frame.x, frame.y, frame.x + frame.width, frame.y + 24)
        assert not [item for item in solid if overlap(around(item), title)]


def test_no_line_runs_through_a_box_or_a_title(made: Network) -> None:
    items = arrange(made).items
    wires = [item for item in items if isinstance(item, Wire)]
    for item in items:
        if isinstance(item, Box | Joint):
            assert not [wire for wire in wires if crosses(wire, around(item))], item
        elif isinstance(item, Frame):
            title = (item.x, item.y, item.x + item.width, item.y + 24)
            assert not [wire for wire in wires if crosses(wire, title)], item


def test_lines_lead_into_what_they_point_at(made: Network) -> None:
    items = arrange(made).items
    edges = [around(item) for item in items if not isinstance(item, Wire)]
    for wire in (item for item in items if isinstance(item, Wire) and item.arrow):
        x, y = wire.points[-1]
        assert any(
            left - 0.1 <= x <= right + 0.1 and top - 0.1 <= y <= bottom + 0.1
            and (abs(y - top) < 0.1 or abs(x - left) < 0.1 or abs(x - right) < 0.1)
            for left, top, right, bottom in edges
        ), wire  # fmt: skip


def test_every_layer_is_reached(made: Network) -> None:
    items = arrange(made).items
    wires = [item for item in items if isinstance(item, Wire)]
    ends = {(round(x, 1), round(y, 1)) for wire in wires for x, y in [wire.points[-1]]}
    for box in (item for item in items if isinstance(item, Box) and item.name != "tile"):
        assert (round(box.x + box.width / 2, 1), round(box.y, 1)) in ends, box


def test_texts_fit_their_boxes(made: Network) -> None:
    for item in arrange(made).items:
        if isinstance(item, Box):
            assert measure(item.name, 13, bold=True) + measure(item.size, 11.5) + 22 < item.width
            assert measure(item.type, 11.5) + 22 <= item.width
        elif isinstance(item, Frame):
            texts = measure(item.name, 13, bold=True) + measure(item.type + item.size, 11.5)
            assert texts + 36 < item.width


def test_a_long_chain_goes_on_in_further_columns() -> None:
    block = arrange(NETWORKS["long"])
    boxes = [item for item in block.items if isinstance(item, Box)]
    columns = {round(box.x + box.width / 2) for box in boxes}
    assert 3 <= len(columns) <= 6
    assert block.width <= 1160
    assert block.height < 1200


def svg(made: Network) -> str:
    return draw(arrange(made), "A <network>", "It's & sees")


def test_the_svg_is_whole_and_stands_alone(made: Network) -> None:
    text = svg(made)
    root = ElementTree.fromstring(text)
    space = {"s": "http://www.w3.org/2000/svg"}
    assert root.findtext("s:title", namespaces=space) == "A <network>"
    shown = {element.text for element in root.iter(f"{{{space['s']}}}text")}
    assert {name.rpartition(".")[2] for name, _ in layers(made)} <= shown
    assert not re.search(r"href|@import|@font-face|url\((?!#)", text)
    assert re.findall(r"https?://[^\"]+", text) == [space["s"]]


def test_the_svg_has_the_same_bytes_twice(made: Network) -> None:
    assert svg(made) == svg(made)


def test_no_rule_leaves_the_diagram() -> None:
    # Inside a page a style holds for all of the page.
    for rule in re.findall(r"([^{}]+)\{", STYLE):
        assert rule.strip().startswith((".network-diagram", "@media")), rule
    assert "prefers-color-scheme: dark" in STYLE


def test_the_legend_names_the_kinds_that_are_there() -> None:
    text = svg(network({"f": FLATTEN, "head": HEAD}))
    assert ">linear</text>" in text
    assert ">convolution</text>" not in text
    assert len(set(COLOURS.values())) == len(COLOURS)


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_fit_in_a_browser(scheme: str) -> None:
    if not shutil.which(CHROMIUM):
        pytest.skip(f"no browser: {CHROMIUM} is missing; install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        tab = browser.new_page(color_scheme=scheme)  # type: ignore[arg-type]
        for name in ("everything", "nested", "vgg"):
            tab.set_content(svg(NETWORKS[name]))
            assert tab.evaluate(OUTSIDE) == []
            paper = tab.evaluate("getComputedStyle(document.querySelector('.paper')).fill")
            assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(30, 35, 39)"}[scheme]
        browser.close()


# Texts of a box that leave it or meet each other.
OUTSIDE = """
() => [...document.querySelectorAll('g')].flatMap(group => {
  const box = group.querySelector(':scope > rect.fill');
  if (!box || group.querySelectorAll(':scope > rect.paper').length != 1) return [];
  const b = box.getBBox(), texts = [...group.querySelectorAll(':scope > text')];
  const out = texts.filter(text => { const t = text.getBBox();
    return t.x < b.x + 4 || t.x + t.width > b.x + b.width - 4 || t.y < b.y - 1
      || t.y + t.height > b.y + b.height + 1; });
  const [name, size] = texts.map(text => text.getBBox());
  return name.x + name.width > size.x - 4 ? texts.map(t => t.textContent)
    : out.map(t => t.textContent);
})
"""


def test_blocks_say_how_large_they_are(made: Network) -> None:
    block: Block = arrange(made)
    for item in block.items:
        if isinstance(item, Box | Frame | Joint):
            assert inside(around(item), (-0.1, -0.1, block.width + 0.1, block.height + 0.1)), item
        else:
            assert all(
                -0.1 <= x <= block.width + 0.1 and -0.1 <= y <= block.height + 0.1
                for x, y in item.points
            ), item
