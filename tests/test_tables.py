from __future__ import annotations

import re

from pipeline.analysis import describe, kept_bytes
from pipeline.network import Network
from pipeline.tables import Table, markdown, summary, table, totals
from tests.networks import AUTOENCODER, EVERYTHING, FLATTEN, HEAD, NORM, conv, network


def cells(content: Table, layer: str) -> dict[str, str]:
    """Heading -> text of the first row of this name."""
    (row, *_) = [row for row in content.rows if row[0].strip() == layer]
    return dict(zip(content.headings, row, strict=True))


def shown(made: Network, resolution: float | None = None) -> Table:
    return table(describe(made, resolution=resolution, composites=True))


def test_learnables_are_told_as_the_tools_of_the_field_tell_them() -> None:
    layers = {
        "c": conv(20, [3, 5]),
        "grouped": conv(40, 3, groups=4),
        "norm": NORM,
        "flatten": FLATTEN,
        "fc": HEAD,
    }
    content = shown(network(layers, tile_size=9))
    assert cells(content, "c")["learnables"] == "weights 3x5x4x20, bias 1x1x20"
    assert cells(content, "c")["output"] == "7x5x20"
    assert cells(content, "grouped")["learnables"] == "weights 3x3x5x40, bias 1x1x40"
    assert cells(content, "grouped")["type"] == "Conv2d 3x3, groups 4"
    assert cells(content, "norm")["learnables"] == "scale 1x1x40, offset 1x1x40"
    assert cells(content, "fc")["learnables"] == f"weights 6x{40 * 5 * 3}, bias 6x1"


def test_a_transposed_convolution_is_told_with_its_filters_last() -> None:
    content = shown(network(AUTOENCODER, task="reconstruct"))
    assert cells(content, "up")["learnables"] == "weights 4x4x6x8, bias 1x1x8"


def test_columns_without_anything_are_left_out() -> None:
    made = network(EVERYTHING)
    assert "sees, m" not in shown(made).headings
    assert "learning" not in shown(made).headings
    assert cells(shown(made, resolution=0.5), "stem")["sees, m"] == "2.5"
    made.get_submodule("block1").requires_grad_(False)
    content = shown(made)
    assert cells(content, "block1")["learning"] == ""
    assert cells(content, "fc")["learning"] == cells(content, "fc")["count"]


def test_nesting_shows_and_sums_stand_in_brackets() -> None:
    content = shown(network(EVERYTHING))
    depths = {row[0].strip(): len(row[0]) - len(row[0].lstrip("\u00a0")) for row in content.rows}
    assert (depths["block1"], depths["mixed"], depths["three"], depths["reduce"]) == (0, 2, 4, 6)
    sums = [row[content.headings.index("count")] for row in content.rows]
    plain = sum(int(text.replace(",", "")) for text in sums if text and "(" not in text)
    made = network(EVERYTHING)
    assert plain == sum(parameter.numel() for parameter in made.parameters())
    assert cells(content, "block1")["count"].startswith("(")


def test_only_maps_have_a_stride() -> None:
    content = shown(network({"c": conv(4, stride=2), "flatten": FLATTEN, "fc": HEAD}, 9))
    assert [row[content.headings.index("stride, px")] for row in content.rows] == ["2", "", ""]


def test_totals_by_hand() -> None:
    made = network({"c": conv(2, bias=False), "flatten": FLATTEN, "fc": HEAD}, tile_size=4)
    made.get_parameter("c.weight").requires_grad_(False)
    found = totals(describe(made, composites=True), kept_bytes(made), batch_size=10)
    frozen, learning = 2 * 4 * 9, 8 * 6 + 6
    assert found == {
        "layers": 3,
        "parameters": frozen + learning,
        "learnable": learning,
        "parameter_bytes": 4 * (frozen + learning),
        # Weights; of those that learn, a gradient and the two moments of Adam too.
        "training_bytes": 4 * (frozen + 4 * learning),
        "macs": 2 * 4 * 36 + 8 * 6,
        "batch_size": 10,
        # The linear layer alone needs what reached it.
        "activation_bytes": 10 * 4 * 8,
    }
    text = " ".join(summary({"name": "two", "totals": found}))
    assert "two: 3 layers, 126 parameters (0.00 MiB, 54 learn)" in text


def test_markdown_has_as_many_cells_in_every_line() -> None:
    lines = markdown(shown(network(EVERYTHING), resolution=1.0)).splitlines()
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert len(lines) == 2 + len(describe(network(EVERYTHING), composites=True))
