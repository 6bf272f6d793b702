"""What the commands that measure write down is what they measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks.network_results import (
    HEADER,
    MARK,
    MODELS,
    Measured,
    header,
    percent,
    saved,
    table,
    with_header,
)
from benchmarks.networks import key, network
from benchmarks.table import filled
from tests.conftest import ROOT

RESULT = Measured(
    key="k", task="classify", depth=2, parameters=8426, macs=500_000, seconds=1.25, tiles=100,
    sample=[0.9], eurosat=[0.7, 0.8, 0.9],
)  # fmt: skip


def test_a_header_stands_above_the_name_and_gives_way_to_the_next() -> None:
    text = "# A network.\nname: mine\nlayers: {}\n"
    once = with_header(text, header(RESULT))
    assert once.startswith(f"# A network.\n{HEADER}\n# 8,426 parameters, 0.5 million ")
    assert once.endswith("\nname: mine\nlayers: {}\n")
    assert with_header(once, header(RESULT)) == once


def test_percent_gives_the_deviation_over_seeds() -> None:
    assert percent([0.9]) == "90.0 %"
    assert percent([0.7, 0.8, 0.9]) == "80.0 % ± 10.0"


def test_filled_replaces_what_stands_between_the_marks() -> None:
    text = "a\n<!-- x: by y -->\nold\n<!-- end of x -->\nb"
    new = filled(text, "x: by y", r"new \1")
    assert new == "a\n<!-- x: by y -->\nnew \\1\n<!-- end of x -->\nb"
    assert filled(new, "x: by y", "old") == text


@pytest.mark.parametrize("model", sorted(saved()))
def test_every_header_is_what_was_measured(model: str) -> None:
    text = (MODELS / f"{model}.yaml").read_text(encoding="utf-8")
    assert with_header(text, header(saved()[model])) == text


@pytest.mark.parametrize("model", sorted(saved()))
def test_what_was_measured_is_the_model_as_it_is(model: str) -> None:
    result = saved()[model]
    assert result.key == key(model), "measure again: python -m benchmarks.networks"
    assert result.parameters == sum(p.numel() for p in network(model).parameters())


def test_the_table_of_the_readme_is_what_was_measured() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert filled(text, MARK, _with_machine(table(saved()), text)) == text


def _with_machine(content: str, text: str) -> str:
    """The same with the machine of the README, which is seldom the one of the test."""
    said = re.search(r"^Measured on .*$", text, flags=re.M)
    assert said is not None
    return re.sub(r"^Measured on .*$", lambda _: said.group(), content, flags=re.M)


def test_a_part_that_is_measured_anew_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "KEPT", tmp_path / "results.json")
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "RESULTS.md")
    keep = bench._keep
    keep("startup", {"machine": "one", "rows": ["| start | 1 |"]})
    keep("training", {"machine": "one", "rows": ["| train | 1 |"]})
    assert bench.RESULTS.read_text().endswith("Machine: one.\n")
    keep("startup", {"machine": "other", "rows": ["| start | 2 |"]})
    text = bench.RESULTS.read_text()
    assert text.index("| train | 1 |") < text.index("| start | 2 |")  # in the order of the bench
    assert "| start | 1 |" not in text
    assert "- `training` on: one.\n- `startup` on: other.\n" in text
