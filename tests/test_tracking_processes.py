"""Runs of several processes: queue workers share one store, whoever creates it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Recorded

WORKER = """
import sys
from pipeline import tracking
from pipeline.schema import TrackingSection
section = TrackingSection(enabled=True, experiment="quadband", uri=None)
params = {"model": {"name": "lecture"}, "train": {"seed": int(sys.argv[1])}}
data = tracking.Dataset("sample", "ab", {}, ("red",), 28)
with tracking.start(section, params=params, data=data) as run:
    for epoch in range(1, 31):
        run.metrics({"train_loss": 1 / epoch, "learning_rate": 0.1}, epoch)
    run.tag("model_digest", sys.argv[1])
"""


def environment_of(root: Path) -> dict[str, str]:
    mine = {key: value for key, value in os.environ.items() if not key.startswith("DVC_EXP")}
    mine.pop("MLFLOW_TRACKING_URI", None)
    return {**mine, "DVC_ROOT": str(root), "PYTHONPATH": str(Path(__file__).parent.parent)}


def recorded(root: Path) -> tuple[MlflowClient, list[Recorded]]:
    from pipeline.tracking.client import connect, reaching

    uri = f"sqlite:///{root}/mlflow.db"
    with reaching(uri):
        client, experiment = connect(uri, "quadband")
    return client, list(client.search_runs([experiment]))


def test_processes_that_create_the_store_together_all_log_everything(tmp_path: Path) -> None:
    workers = []
    for number in range(2):
        copy = tmp_path / ".dvc" / "tmp" / "exps" / f"copy{number}"
        copy.mkdir(parents=True)
        command = [sys.executable, "-c", WORKER, str(number)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        workers.append(
            subprocess.Popen(command, cwd=copy, env=environment_of(tmp_path), **pipes)  # type: ignore[call-overload]
        )
    said = [worker.communicate(timeout=120) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert "warning" not in str(said)
    assert not list((tmp_path / ".dvc").rglob("mlflow.db*"))
    client, found = recorded(tmp_path)
    assert sorted(run.data.tags["model_digest"] for run in found) == ["0", "1"]
    for run in found:
        assert run.info.status == "FINISHED"
        assert len(client.get_metric_history(run.info.run_id, "train_loss")) == 30


@pytest.mark.whole
def test_queued_experiments_land_in_the_store_of_the_root_under_dvcs_names(tmp_path: Path) -> None:
    (tmp_path / "record.py").write_text(WORKER + "open('out', 'w').write(sys.argv[1])\n")
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    (tmp_path / ".gitignore").write_text("/mlflow.db*\n/mlartifacts/\n")
    (tmp_path / "dvc.yaml").write_text(
        "stages: {train: {cmd: 'python record.py ${seed}', params: [seed], outs: [out]}}\n"
    )
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**environment_of(tmp_path), "PATH": search, "DVC_NO_ANALYTICS": "1"}
    del environment["DVC_ROOT"]  # DVC's to set

    def shell(*words: str) -> str:
        # Into a file: DVC's workers outlive it for a while and would hold a pipe open.
        with (tmp_path.parent / "said").open("w+") as said:
            done = subprocess.run(
                words, cwd=tmp_path, env=environment, stdout=said, stderr=said, timeout=180
            )
            said.seek(0)
            text = said.read()
        assert done.returncode == 0, text
        return text

    shell("git", "init", "-q")
    shell("git", "config", "user.email", "someone@example.com")
    shell("git", "config", "user.name", "Someone")
    shell("dvc", "init", "-q")
    shell("git", "add", "-A")
    shell("git", "commit", "-qm", "start")
    shell("dvc", "exp", "run", "-q", "--queue", "-S", "seed=1,2")
    shell("dvc", "exp", "run", "-q", "--run-all", "-j", "2")
    shell("dvc", "queue", "stop")
    rows = shell("dvc", "exp", "show", "--csv", "--only-changed").splitlines()
    shown = {row.split(",")[0] for row in rows} | {row.split(",")[1] for row in rows}
    _, found = recorded(tmp_path)
    assert sorted(run.data.params["train.seed"] for run in found) == ["1", "2"]
    assert {run.info.run_name for run in found} <= shown
    head = shell("git", "rev-parse", "HEAD").strip()
    assert {run.data.tags["mlflow.source.git.commit"] for run in found} == {head}
