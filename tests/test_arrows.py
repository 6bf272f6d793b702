from __future__ import annotations

import hashlib
import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.__main__ import STAGES
from pipeline.schema import Params
from tests.imports import imports_of, modules, stage_deps

# A module imports only from those before it. A package stands for all that is in it.
ORDER = [
    "errors", "stopping", "types", "schema", "console", "windows", "split", "stats", "divide",
    "exclusion", "duplicates", "lookalikes", "leakage", "ground", "leaks", "shift", "naming",
    "sources", "packing", "store", "composites", "pretrained", "layers", "targets", "spec",
    "network", "voting", "ensemble", "selection", "channels", "transfer", "wording", "receptive",
    "analysis", "strides", "silence", "faults", "tables", "diagram", "source", "plain", "metrics",
    "places", "evidence", "calibration", "resampling", "ranking", "rejection", "areas", "measuring",
    "breakdown", "assessment", "matching", "paired", "kept", "answers", "baselines", "beside",
    "diversity", "ballots", "results", "telling", "waiting",
    "reconstruction", "bundle", "trained", "picking", "portrait",
    "mapping", "glance", "distortions",
    "augment", "mixing", "order", "sampling", "feeding", "data", "optimization", "whitening",
    "tasks", "probes", "kernels", "subjects", "steps", "attributions", "trust", "dreams",
    "embeddings", "walks",
    "figures", "report", "looks", "page", "confident", "mistakes", "tracking", "donor", "members",
    "side_by_side", "label_errors", "config_messages",
    "config", "config_difference", "comparison", "repeat", "stages", "commands", "__main__",
]  # fmt: skip
# Where a run happens is no parameter of a stage: changing it reruns nothing.
WHERE = {"data", "trainer", "engine", "tracking"}


def _rank(module: str) -> int:
    return ORDER.index(module.split(".")[1])


def test_every_module_has_its_place_in_the_order() -> None:
    assert {name.split(".")[1] for name in modules() if "." in name} == set(ORDER)


@pytest.mark.parametrize("module", [name for name in modules() if "." in name])
def test_arrows_go_one_way(module: str) -> None:
    back = [name for name in imports_of(module) if "." in name and _rank(name) > _rank(module)]
    assert back == []


def test_no_stage_imports_another() -> None:
    for stage in STAGES:
        others = {name for name in imports_of(f"pipeline.stages.{stage}") if ".stages." in name}
        assert others == set(), stage


@pytest.fixture(scope="module")
def stages(root: Path) -> dict[str, Any]:
    loaded = yaml.safe_load((root / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    flat = {name: stage.get("do", stage) for name, stage in loaded.items()}
    return {"sample" if name == "source" else name: stage for name, stage in flat.items()}


def test_dvc_yaml_holds_the_stages_and_no_other(stages: dict[str, Any]) -> None:
    assert set(stages) == set(STAGES)
    assert {path.stem for path in Path("pipeline/stages").glob("[!_]*.py")} == set(STAGES)


@pytest.mark.parametrize("stage", STAGES)
def test_deps_in_dvc_yaml_equal_the_imports(stages: dict[str, Any], stage: str) -> None:
    named = [dep for dep in stages[stage]["deps"] if dep.endswith(".py") or ".j2" in dep]
    assert sorted(dep for dep in named if dep.endswith(".py")) == stage_deps(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_params_in_dvc_yaml_are_the_sections_that_a_stage_takes(
    stages: dict[str, Any], stage: str
) -> None:
    run = importlib.import_module(f"pipeline.stages.{stage}").run
    taken = {name for name in inspect.signature(run).parameters if name in Params.model_fields}
    named = {key.split(".")[0] for key in stages[stage].get("params", [])}
    assert named == taken - WHERE


def test_dvc_lock_was_written_by_this_code(root: Path) -> None:
    """Else a fresh clone reruns at once what its dvc.lock says is done."""
    locked = yaml.safe_load((root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    stale = [
        stage
        for stage, facts in locked.items()
        if any(
            hashlib.md5((root / dep["path"]).read_bytes()).hexdigest() != dep["md5"]
            for dep in facts["deps"]
            if dep["path"].startswith("pipeline/")
        )
    ]
    told = f"out of date: {', '.join(stale)}; run make repro, commit dvc.lock and what it changed"
    assert not stale, told
