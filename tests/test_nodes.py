"""Training across machines, as torchrun and SLURM start it; the machines are folders of one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from pytorch_lightning.utilities import rank_zero_only

from pipeline.errors import ConfigError
from pipeline.tasks.ranks import check_started, environment
from pipeline.tracking.place import rank_zero
from tests.conftest import ROOT
from tests.test_ranks import GO, TWO, assert_like_one, project

SLURM = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_ID": "7"}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "2", "RANK": "1"}


@pytest.fixture(autouse=True)
def _rank_of_the_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning keeps the rank of the last trainer for all of the process."""
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)


def torchrun(place: Path, machine: int, port: int) -> subprocess.Popen[str]:
    """A machine's part of a training of two."""
    (place / "go.py").write_text(GO, encoding="utf-8")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
        "--node-rank", str(machine), "--master-addr", "127.0.0.1", "--master-port", str(port),
        "go.py", json.dumps(TWO),
    ]  # fmt: skip
    ours = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        command, cwd=place, env={**os.environ, **ours}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip


def test_two_machines_under_torchrun_train_as_one_process_does(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    places = [project(tmp_path / name) for name in ("first", "second")]
    machines = [torchrun(place, machine, port) for machine, place in enumerate(places)]
    said = [machine.communicate(timeout=120) for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], said
    output, other = said[0][0], said[1][0]
    assert output.count("\nepoch ") == 5
    assert "Kept epoch" in output
    assert other.startswith("process 0 ")
    assert other.count("\n") == 1  # nothing but what the test prints
    assert not (places[1] / "models").exists()
    assert_like_one(places[0], tmp_path / "alone")


@pytest.mark.parametrize(
    ("variables", "kind"),
    [
        ({}, LightningEnvironment),
        (SLURM, SLURMEnvironment),
        ({**SLURM, "SLURM_NTASKS": "1"}, LightningEnvironment),
        ({**SLURM, "SLURM_JOB_NAME": "bash"}, LightningEnvironment),
        (TORCHRUN, TorchElasticEnvironment),
        (SLURM | TORCHRUN, TorchElasticEnvironment),
    ],
)
def test_who_starts_the_processes(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], kind: type[ClusterEnvironment]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert type(environment()) is kind


def test_slurm_neither_saves_nor_requeues_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    found = environment()
    assert isinstance(found, SLURMEnvironment)
    assert not found.auto_requeue
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(ConfigError, match="give sbatch --ntasks-per-node"):
        environment()


@pytest.mark.parametrize(
    ("variables", "options"),
    [(SLURM, {}), (TORCHRUN, {}), (TORCHRUN, {"strategy": "ddp", "num_nodes": 3})],
)
def test_processes_that_would_train_by_themselves_or_wait_for_ever_are_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], options: dict[str, Any]
) -> None:
    for name, value in {**variables, "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    where = environment()
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, plugins=[where], logger=False, enable_checkpointing=False,
        **options,
    )  # fmt: skip
    starter = "SLURM" if variables is SLURM else "torchrun"
    asked = options.get("num_nodes", 1)
    with pytest.raises(ConfigError, match=rf"^Expected {asked} processes.*got 2 from {starter}\."):
        check_started(where, trainer)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"SLURM_PROCID": "1"}, False),
        # Under torchrun SLURM may count its machines otherwise.
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "0", "SLURM_PROCID": "1"}, True),
        ({"TORCHELASTIC_RUN_ID": "a", "RANK": "1", "LOCAL_RANK": "0"}, False),
    ],
)
def test_one_process_of_all_records_the_run(variables: dict[str, str], expected: bool) -> None:
    assert rank_zero(variables) is expected
