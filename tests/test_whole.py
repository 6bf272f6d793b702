"""The pipeline as its users run it: DVC in a clone of its own, on made-up scenes."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.whole, pytest.mark.xdist_group("whole"), pytest.mark.timeout(900)]

QUICK = ["experiment=quick", "model=lecture", "train.epochs=1", "train.min_steps=0"]


class Clone:
    """A copy of the project in a git repository of its own."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def run(self, *command: str, status: int = 0) -> str:
        """Output of a command run in the clone, errors included."""
        bin_folder = Path(sys.executable).parent
        env = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
        env |= {
            "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
            "DVC_NO_ANALYTICS": "1",
            "MLFLOW_DISABLE_TELEMETRY": "1",
            "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
        }  # fmt: skip
        # A file, not a pipe: DVC's queue workers outlive their command and would hold a pipe open.
        log = self.place.with_name(f"{self.place.name}.log")
        with log.open("w") as out:
            done = subprocess.run(
                command, cwd=self.place, env=env, stdout=out, stderr=subprocess.STDOUT, timeout=600
            )
        output = log.read_text()
        assert done.returncode == status, f"{' '.join(command)}: {done.returncode}\n{output}"
        return output

    def runs(self) -> dict[str, str]:
        """MLflow's finished runs: name -> id."""
        with sqlite3.connect(self.place / "mlflow.db") as database:
            rows = database.execute("select name, run_uuid from runs where status = 'FINISHED'")
            return dict(rows.fetchall())

    def compose(self, *overrides: str) -> None:
        """Write params.yaml, as small as the tests have it but for what is overridden."""
        self.run("python", "-m", "pipeline", "compose", *QUICK, *overrides)

    def ran(self, output: str) -> set[str]:
        """Stages that DVC says it ran."""
        lines = [line for line in output.splitlines() if line.startswith("Running stage")]
        return {line.split("'")[1].split("@")[0] for line in lines}

    def out_of_date(self, *stages: str) -> set[str]:
        """Stages that DVC would run, of these or of all; what follows from them is not known."""
        return self.ran(self.run("dvc", "repro", "--dry", *stages))


@pytest.fixture(scope="module")
def clone(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    place = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=root, text=True, capture_output=True, check=True,
    )  # fmt: skip
    for name in listed.stdout.splitlines():
        if (root / name).is_file():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, place / name)
    made = Clone(place)
    made.run("git", "init", "-q")
    made.run("git", "add", "-A")
    made.run("git", "commit", "-qm", "clone")
    made.compose()
    return made


@pytest.fixture(scope="module")
def first(clone: Clone) -> str:
    """Output of the first pass."""
    return clone.run("dvc", "repro")


def test_a_pass_runs_every_stage_and_leaves_what_it_promises(clone: Clone, first: str) -> None:
    stages = set(yaml.safe_load((clone.place / "dvc.yaml").read_text())["stages"])
    assert clone.ran(first) == stages
    metrics = json.loads((clone.place / "reports/metrics.json").read_text())
    assert 0 < metrics["accuracy"] <= 1
    assert set(metrics["per_class"]) >= {"building", "road", "water"}
    for name in ["models/model.safetensors", "reports/index.html", "predictions/unseen.tif",
                 "models/export/model.onnx", "reports/train/curves.csv"]:  # fmt: skip
        assert (clone.place / name).stat().st_size > 0, name


def test_a_pass_says_how_params_differ_from_conf(first: str) -> None:
    assert "params.yaml differs from conf/ by: " in first
    assert "model=lecture" in first


def test_one_pass_is_one_run_in_mlflow(clone: Clone, first: str) -> None:
    assert len(clone.runs()) == 1


@pytest.fixture
def settled(clone: Clone, first: str) -> Clone:
    """The clone with nothing out of date, whatever another test has done to it."""
    clone.compose()
    if clone.out_of_date():
        clone.run("dvc", "repro")
    return clone


def test_a_second_pass_reruns_nothing(settled: Clone) -> None:
    assert settled.out_of_date() == set()


@pytest.mark.parametrize(
    ("overrides", "stages"),
    [
        (["visualize.kernel_band=red"], {"visualize"}),
        (["trainer=cpu", "engine.threads=1", "data.memory=100"], set()),
        (["evaluate.vote=hard"], {"evaluate", "predict", "export"}),
    ],
    ids=["another look", "another trainer", "another vote"],
)
def test_what_changes_reruns_what_takes_it_and_no_more(
    settled: Clone, overrides: list[str], stages: set[str]
) -> None:
    settled.compose(*overrides)
    assert settled.out_of_date() == stages


def test_the_page_shows_the_scenes_of_its_pass_alone(settled: Clone) -> None:
    place = settled.place
    county = place.with_name("county.tif")
    shutil.copy2(place / "data/sample/extra/unseen.tif", county)

    def maps() -> set[str]:
        page = (place / "reports/index.html").read_text()
        return {name for name in ("county", "unseen") if f"<h3>{name}</h3>" in page}

    before = settled.runs()
    settled.compose(f"predict.scenes={{county: {county}}}")
    assert settled.ran(settled.run("dvc", "repro")) == {"predict", "visualize"}
    assert maps() == {"county"}
    assert settled.runs() == before  # they add to the run of the weights
    settled.compose()
    settled.run("dvc", "repro")
    assert maps() == {"unseen"}
    assert settled.out_of_date() == set()
    assert (place / "predictions/county.tif").is_file()  # a map is its maker's


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.lr=abc", "optimizer.lr, got 'abc'"),
        ("optimizer.lrr=1", "Did you mean optimizer.lr?"),
        ("model=vggg", "Did you mean vgg?"),
        ("source=sat", "Expected a value for source.path (conf/source/sat.yaml)"),
        ("predict.scenes={far: /no/far.tif}", "imagery at predict.scenes.far=/no/far.tif"),
        ("+model.layers.conv.strides=2", "Layer 'conv': Conv2d takes no argument 'strides'"),
    ],
)
def test_dvc_refuses_a_mistake_in_one_sentence(clone: Clone, override: str, words: str) -> None:
    before = (clone.place / "params.yaml").read_bytes()
    output = clone.run("dvc", "exp", "run", "-S", "model=lecture", "-S", override, status=255)
    lines = [line for line in output.splitlines() if line.startswith("ERROR")]
    assert len(lines) == 1
    assert words in lines[0]
    assert "unexpected error" not in output
    assert (clone.place / "params.yaml").read_bytes() == before


def test_metrics_and_plots_are_dvc_s(settled: Clone) -> None:
    assert "accuracy" in settled.run("dvc", "metrics", "show")
    settled.run("dvc", "metrics", "diff")
    settled.run("dvc", "plots", "show", "--out", "dvc_plots")
    page = (settled.place / "dvc_plots/index.html").read_text()
    assert "validation_accuracy" in page


def test_a_donor_that_changes_reruns_the_training(clone: Clone, first: str) -> None:
    donor = clone.place.with_name("donor")
    shutil.copytree(clone.place / "models", donor)
    clone.compose(f"train.init_from={donor}", "train.freeze=[conv]")
    output = clone.run("dvc", "repro", "train")
    assert clone.ran(output) == {"train"}
    assert "2 of 2 layers with weights start from the donor." in output
    assert clone.out_of_date("train") == set()
    facts = donor / "model.json"
    facts.write_text(facts.read_text() + "\n")
    assert clone.out_of_date("train") == {"train"}


def test_queued_experiments_land_in_the_same_store_under_dvc_s_names(
    clone: Clone, first: str
) -> None:
    clone.run("git", "add", "-A")
    clone.run("git", "commit", "-qm", "first pass")
    before = set(clone.runs())
    clone.run("dvc", "exp", "run", "--queue", *(f"-S{o}" for o in QUICK),
              "-S", "optimizer.lr=0.002,0.004", "evaluate")  # fmt: skip
    clone.run("dvc", "exp", "run", "--run-all", "--jobs", "2")
    shown = json.loads(clone.run("dvc", "exp", "show", "--json"))
    names = {rev["name"] for commit in shown for rev in commit["experiments"] or []
             for rev in rev["revs"] if rev.get("name")}  # fmt: skip
    assert len(names) == 2
    assert set(clone.runs()) - before == names


def test_an_autoencoder_passes_from_tiles_without_labels_to_its_export(
    clone: Clone, first: str
) -> None:
    clone.compose("model=autoencoder", "source.labels=none", "tracking=none")
    stages = set(yaml.safe_load((clone.place / "dvc.yaml").read_text())["stages"])
    assert clone.ran(clone.run("dvc", "repro")) == stages - {"source", "predict"}
    metrics = json.loads((clone.place / "reports/metrics.json").read_text())
    assert set(metrics["per_band"]) == {"red", "green", "blue", "nir"}
    counts = json.loads((clone.place / "reports/ingest.json").read_text())["counts"]
    assert counts["test"] == {"unlabelled": metrics["n"]}
    assert "reconstruction" in (clone.place / "models/export/model.md").read_text()
    clone.run("dvc", "plots", "show", "--out", "dvc_plots")
