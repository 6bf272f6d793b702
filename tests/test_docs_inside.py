"""What docs/inside.md says is what the commands and the stage do."""

from __future__ import annotations

import re
import shlex

import numpy as np
import pytest
import yaml

from docs.inside import PICTURES
from pipeline.__main__ import _parser
from pipeline.commands.kernel import written_out
from pipeline.config import compose
from pipeline.kernels import KERNELS, Slid, Slide
from pipeline.schema import VisualizeSection
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "inside.md").read_text(encoding="utf-8")
CODE = re.findall(r"`([^`\n]+)`", PAGE) + PAGE.splitlines()


def test_its_pictures_are_those_that_are_drawn() -> None:
    named = {ROOT / "docs" / path for path in re.findall(r"\]\((images/[^)]+)\)", PAGE)}
    assert named == {ROOT / path for path in PICTURES}
    assert all(path.stat().st_size > 10_000 for path in named)


@pytest.mark.parametrize(
    "words",
    [shlex.split(text.removeprefix("python -m pipeline ")) for text in CODE
     if re.match(r"(python -m pipeline )?(show|kernel) ", text)],
    ids=" ".join,
)  # fmt: skip
def test_every_command_is_one(words: list[str]) -> None:
    assert _parser().parse_args(words).command in ("show", "kernel")


@pytest.mark.parametrize(
    "words", [shlex.split(line) for line in CODE if line.startswith("dvc exp run")], ids=" ".join
)
def test_every_override_composes(words: list[str]) -> None:
    section = yaml.safe_load(compose([word for word in words if "=" in word]))["visualize"]
    assert VisualizeSection.model_validate(section)


def test_the_window_in_numbers_is_what_the_command_prints() -> None:
    band = np.array([[10, 10, 60], [10, 20, 70], [20, 30, 90]])
    slid = Slid.peak("sobel_x", KERNELS["sobel_x"], band, Slide("valid"))
    block = re.search(r"```text\n(.*?)\n```", PAGE, flags=re.S)
    assert block is not None
    assert [line.rstrip() for line in written_out(slid)[1:]] == block[1].splitlines()


def test_the_sizes_of_the_table_are_right() -> None:
    rows = re.findall(r"^\| `(--padding [^`]*)` \|.*\| (\d+) \|$", PAGE, flags=re.M)
    assert len(rows) == 5
    for options, size in rows:
        given = _parser().parse_args(["kernel", "sobel_x", *shlex.split(options)])
        slide = Slide(given.padding, given.stride or 1, given.dilation or 1)
        assert slide.size((28, 28), KERNELS["sobel_x"]) == (int(size), int(size))


def test_every_kernel_is_named() -> None:
    assert [name for name in KERNELS if f"`{name}`" not in PAGE] == []
