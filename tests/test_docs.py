"""What the pages in docs/ show is what the pipeline does."""

from __future__ import annotations

import re
import shlex
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from pipeline import ballots
from pipeline.__main__ import _parser
from pipeline.config import compose
from pipeline.measuring import Measurement
from pipeline.network import build
from pipeline.types import Bands, Classes
from pipeline.voting import VOTES
from tests import measured
from tests.conftest import ROOT

PAGES = ("autoencoders", "ensembles", "inside", "measures")
TEXT = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
NETWORKS = re.findall(r"```yaml\n(.*?)```", TEXT, flags=re.S)
BANDS, CLASSES = Bands(("red", "green", "blue", "nir")), Classes(("land", "water"))


@pytest.mark.parametrize("text", NETWORKS, ids=[f"network{i}" for i in range(len(NETWORKS))])
def test_every_network_of_the_page_builds(text: str) -> None:
    layers = yaml.safe_load(text.replace("${activation}", "{_target_: torch.nn.ReLU}"))["layers"]
    made = build(layers, bands=BANDS, classes=CLASSES, tile_size=28).eval()
    assert made(torch.zeros(1, 4, 28, 28)).shape == (1, 2)


def test_every_layer_of_the_project_is_on_the_page() -> None:
    from pipeline import layers

    assert [name for name in layers.__all__ if f"`{name}`" not in TEXT and name != "Chain"] == []


def test_every_activation_of_the_page_is_there() -> None:
    said = re.search(r"swaps it in every layer\s*\((.*?)\)", TEXT, flags=re.S)
    assert said is not None
    files = {path.stem for path in (ROOT / "conf" / "activation").glob("*.yaml")}
    assert set(re.split(r",\s+", said.group(1))) == files


def commands() -> list[list[str]]:
    """Overrides of each command of the other pages, the first value of a sweep."""
    pages = [ROOT / "docs" / f"{name}.md" for name in PAGES]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    lines = [line for line in text.splitlines() if line.startswith("dvc exp run")]
    words = [shlex.split(line)[3:] for line in lines]
    return [[re.sub(r"=([^[{]*?),.*", r"=\1", w) for w in line if "=" in w] for line in words]


def test_every_measure_is_on_its_page() -> None:
    text = (ROOT / "docs" / "measures.md").read_text(encoding="utf-8")
    summary = Measurement.of(measured.evidence(60, 6)).summary()
    (row, *_) = summary["per_class"].values()
    names = [f"`{name}`" for name in summary if not name.endswith("_ci95")]
    names += [f"per_class.*.{name}`" for name in row if not name.endswith("_ci95")]
    assert [name for name in names if name not in text] == [
        "`n`",
        "`per_class`",
        "per_class.*.support`",
    ]


@pytest.mark.parametrize("overrides", commands(), ids=" ".join)
def test_every_command_of_the_pages_composes(overrides: list[str]) -> None:
    assert compose(overrides)


def test_the_commands_on_machines_fit_each_other() -> None:
    from torch.distributed.run import get_args_parser

    text = (ROOT / "docs" / "distributed.md").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith(("python ", "torchrun "))]
    commands = [shlex.split(line) for line in lines]
    composed = [words[4:] for words in commands if words[3:4] == ["compose"]]
    params = [yaml.safe_load(compose(overrides)) for overrides in composed]
    where = params[-1]["trainer"]
    assert [one["trainer"]["strategy"] for one in params] == ["ddp", "ddp"]
    (started,) = (words[1:] for words in commands if words[:1] == ["torchrun"])
    asked = get_args_parser().parse_args(started)
    assert (int(asked.nnodes), int(asked.nproc_per_node)) == (where["num_nodes"], where["devices"])
    assert f"--nodes={where['num_nodes']} --ntasks-per-node={where['devices']}" in text


def test_the_figures_of_an_ensemble_are_those_that_the_page_names() -> None:
    text = (ROOT / "docs" / "ensembles.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`diversity\.(\w+)", text))
    members = [np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)[::-1]]
    found = ballots.differ(np.stack(members), np.array([0, 1]))
    assert named == set(found)
    table = text.partition("| `evaluate.vote` |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, flags=re.M)) == set(VOTES)


def comparing(command: str) -> list[list[str]]:
    """Arguments of each such command of the page on comparing."""
    text = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S)
             for line in block.splitlines()]  # fmt: skip
    start = shlex.split(command)
    return [shlex.split(line)[len(start) :] for line in lines if line.startswith(command)]


@pytest.mark.parametrize("arguments", comparing("python -m pipeline"), ids=" ".join)
def test_every_command_on_comparing_is_one(arguments: list[str]) -> None:
    given = _parser().parse_args(arguments)
    assert given.command in ("compare", "repeat")
    if given.command == "repeat":
        assert yaml.safe_load(compose(given.overrides))["repeat"]["over"]


@pytest.mark.parametrize("arguments", comparing("dvc exp run"), ids=" ".join)
def test_every_experiment_on_comparing_composes(arguments: list[str]) -> None:
    overrides = [re.sub(",.*", "", word) for word in arguments if "=" in word]
    assert yaml.safe_load(compose(overrides))["split"]["folds"] == 5


def test_the_mistakes_of_the_page_read_as_it_says() -> None:
    conv = {"_target_": "torch.nn.Conv2d", "out_channels": 16, "kernel_size": 1}
    five = {**conv, "kernel_size": 5}
    fork = {"_target_": "pipeline.layers.Parallel", "narrow": conv, "wide": five}
    residual = {"_target_": "pipeline.layers.Residual", "c": {**five, "out_channels": 32}}
    thin = {**conv, "out_channels": 24}
    faulty: list[tuple[int, dict[str, Any]]] = [
        (28, {"conv1": {**conv, "strid": 2}}),
        (28, {"stem": {**thin, "out_channels": 32}, "block1": {**residual, "d": None}}),
        (14, {"fork": fork}),
        (3, {"conv1": thin, "conv2": five}),
    ]
    said = re.findall(r"^Layer '.*", TEXT, flags=re.M)
    assert len(said) == len(faulty)
    for sentence, (size, layers) in zip(said, faulty, strict=True):
        with pytest.raises(Exception, match="Layer") as found:
            build(layers, bands=BANDS, classes=CLASSES, tile_size=size)
        assert str(found.value) == sentence
