from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml

from benchmarks.table import filled
from docs.figures import DIAGRAM, MARK, METRICS, PAGE, PICTURES, SCREEN, diagram, table
from pipeline.config import compose
from pipeline.network import build
from pipeline.types import Bands, Classes
from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code of this language in the README."""
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.S)


def commands() -> list[list[str]]:
    """Overrides of each command that the README gives."""
    found = []
    for line in "\n".join(blocks("sh")).replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words[:3] == ["dvc", "exp", "run"]:
            found.append([words[i + 1] for i, word in enumerate(words) if word == "-S"])
        elif words[:4] == ["python", "-m", "pipeline", "compose"]:
            rest = words[4:]
            found.append(rest[: rest.index("&&")] if "&&" in rest else rest)
    return found


@pytest.mark.parametrize("overrides", commands(), ids=" ".join)
def test_every_command_of_the_readme_composes(overrides: list[str]) -> None:
    # A sweep is a list for the queue, and mine.yaml is the reader's own.
    one = [re.sub(r"^([\w.]+=[\w.]+),.*", r"\1", override) for override in overrides]
    mine = [o for o in one if o != "model=mine" and not o.startswith("model.layers.conv1.")]
    assert compose(mine)


def test_the_network_of_the_readme_builds() -> None:
    (text,) = blocks("yaml")
    relu = "{_target_: torch.nn.ReLU}"
    layers = yaml.safe_load(text.replace("${activation}", relu))["layers"]
    bands, classes = Bands(("red", "green", "blue", "nir")), Classes(("land", "water"))
    assert build(layers, bands=bands, classes=classes, tile_size=28).layer_names == list(layers)


def test_the_figures_of_the_readme_are_those_of_the_last_run(root: Path) -> None:
    measures = json.loads((root / METRICS).read_text(encoding="utf-8"))
    assert filled(TEXT, MARK, table(measures)) == TEXT


def test_every_picture_of_the_readme_is_there(root: Path) -> None:
    shown = {Path(name) for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", TEXT)}
    assert shown == {target for target, _ in PICTURES.values()} | {DIAGRAM, SCREEN}
    assert all((root / name).is_file() for name in shown)


@pytest.mark.parametrize("said", re.findall(r"^(?:Unknown|optimizer\.lr,).*", TEXT, flags=re.M))
def test_the_mistakes_of_the_readme_read_as_it_says(said: str) -> None:
    override = {"k": "optimizer.lrr=1", "o": "split=blok"}
    given = "optimizer.lr=abc" if said.startswith("opt") else override[said.split()[1][0]]
    with pytest.raises(Exception, match=re.escape(said)):
        compose([given])


def test_the_diagram_of_the_readme_is_what_analyze_draws(root: Path) -> None:
    page = (root / PAGE).read_text(encoding="utf-8")
    assert (root / DIAGRAM).read_text(encoding="utf-8") == diagram(page)
