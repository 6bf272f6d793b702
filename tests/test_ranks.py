"""Ranks end together, with the cause, and go on together."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import torch

from pipeline.bundle import load
from pipeline.tracking.client import connect, reaching
from tests import little
from tests.conftest import ROOT
from tests.forked import NONE, Fault, Training

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Recorded

# Two machines of one process each, with the default augmentation.
DEFAULT = {"flips": True, "quarter_turns": True, "brightness": 1.0, "noise": 0.05}
TWO: dict[str, Any] = {
    "augment": DEFAULT,
    "train": {"batch_size": 8, "epochs": 5},
    "trainer": {"strategy": "ddp", "num_nodes": 2},
}
ONE: dict[str, Any] = {"augment": DEFAULT, "train": {"batch_size": 16, "epochs": 5}}


def project(place: Path) -> Path:
    (place / "data").mkdir(parents=True)
    little.store(place / "data" / "tiles", counts=(91, 13, 31))  # which no number of ranks divides
    return place


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Two machines that share no folder."""
    return [project(tmp_path / name) for name in ("first", "second")]


def weights(place: Path) -> dict[str, torch.Tensor]:
    return load(place / "models").network.state_dict()


def assert_like_one(place: Path, alone: Path, changes: dict[str, Any] = ONE) -> None:
    """As near to one process of twice the batch as rounding leaves it."""
    assert Training([project(alone)], changes).run() == [0]
    for name, value in weights(alone).items():
        np.testing.assert_allclose(weights(place)[name], value, rtol=0, atol=1e-5)
    ours, theirs = (
        np.loadtxt(one / "reports/train/curves.csv", delimiter=",", skiprows=1)
        for one in (place, alone)
    )
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "more",
    [
        {"mixup": 0.4, "cutmix": 1.0},
        {"flips": "alternate", "rotation": 45.0, "contrast": 0.15, "band_brightness": 0.15,
         "haze": 0.3, "scratches": 0.2, "dead_lines": 0.2, "band_dropout": 0.05},
    ],
    ids=["mixtures", "strong"],
)  # fmt: skip
def test_augmented_and_mixed_tiles_are_the_same_on_two_ranks_as_on_one(
    places: list[Path], tmp_path: Path, more: dict[str, Any]
) -> None:
    changes = {"augment": DEFAULT | more, "loss": {"class_weights": {"trees": 3.0}}}
    training = Training(places, TWO | changes | {"train": {"batch_size": 8, "epochs": 2}})
    assert training.run() == [0, 0], training.said()
    alone = ONE | changes | {"train": {"batch_size": 16, "epochs": 2}}
    assert_like_one(places[0], tmp_path / "alone", alone)


@pytest.mark.parametrize(
    ("fault", "statuses", "told"),
    [
        (("raise", 1, 14), [1, 1], "Rank 1 ({}) failed: MemoryError: no room for 7 GiB"),
        (("raise", 0, 14), [1, 1], "Rank 0 ({}) failed: MemoryError: no room for 7 GiB"),
        (("kill", 1, 14), [1, -9], "Rank 1 ({}) ended without a word: it was killed, or its "),
        (("kill", 0, 14), [-9, 1], "Rank 0 ({}) ended without a word: it was killed, or its "),
        (("nan", 1, 14), [1, 1], "epoch 3, step 3, at a learning rate of 0.01 and a loss of nan "),
    ],
)
def test_the_end_of_one_rank_ends_all_and_says_why(
    places: list[Path], fault: Fault, statuses: list[int], told: str
) -> None:
    training = Training(places, TWO, fault)
    assert training.run() == statuses
    kind, rank, _ = fault
    sentence = told.format(f"process {training.processes[rank].pid} on {os.uname().nodename}")
    said = training.said()
    survivors = [1 - rank] if kind == "kill" else [0, 1]
    for one in survivors:
        own = kind == "raise" and one == rank  # a fault of the program, with a traceback
        assert (sentence in said[one]) is not own, said[one]
        assert ("Traceback" in said[one]) is own, said[one]
        assert said[one].count("error: ") == (0 if own else 1), said[one]
    assert "a loss of nan on rank 1:" in said[0] or kind != "nan"


def test_killed_ranks_go_on_without_a_folder_that_they_share(
    places: list[Path], tmp_path: Path
) -> None:
    Training(places, TWO, ("kill", 1, 20)).run()
    assert list(places[0].glob(".checkpoints/*/*.ckpt"))
    assert not list(places[1].glob(".checkpoints/*/*.ckpt"))
    again = Training(places, TWO)
    assert again.run() == [0, 0]
    assert "Goes on after epoch 3" in again.said()[0]
    assert again.said()[1] == ""
    assert not (places[1] / "models").exists()
    assert_like_one(places[0], tmp_path / "alone")


def test_machines_with_other_tiles_or_parameters_are_refused(places: list[Path]) -> None:
    little.store(places[1] / "data" / "tiles", counts=(87, 12, 31))
    training = Training(places, TWO)
    assert training.run() == [1, 1]
    for said in training.said():
        assert "Expected the same parameters and tiles as on rank 0" in said
        assert "Give all machines the same project, params.yaml and data/tiles." in said


def test_a_signal_to_one_rank_stops_all_even_those_that_wait_for_it(places: list[Path]) -> None:
    training = Training(places, TWO, ("hang", 1, 20), patience=1.0)
    training.begin()
    training.await_hang()
    training.send(signal.SIGTERM, 0)  # which stands in a collective with rank 1, who never comes
    assert training.end() == [143, 143]
    assert [said.splitlines()[-1] for said in training.said()] == ["stopped"] * 2
    assert len(list(places[0].glob(".checkpoints/*/*.ckpt"))) == 2


def runs(root: Path) -> tuple[MlflowClient, list[Recorded]]:
    with reaching(uri := f"sqlite:///{root}/mlflow.db"):
        client, experiment = connect(uri, "test")
    return client, list(client.search_runs([experiment]))


def test_a_run_goes_on_in_mlflow_whatever_ended_it(places: list[Path]) -> None:
    place = places[0]
    environment = {"DVC_ROOT": str(place)}
    seen = []
    ends: list[tuple[Fault, int | None]] = [
        (("hang", 0, 9), signal.SIGINT), (("raise", 1, 15), None),
        (("hang", 0, 21), signal.SIGTERM), (("kill", 0, 26), None), (NONE, None),
    ]  # fmt: skip
    for fault, number in ends:
        training = Training(places, TWO, fault, environment, patience=1.0)
        training.begin()
        if number:
            training.await_hang()
            training.send(number, 0, 1)
        statuses = training.end()
        if saved := sorted(place.glob(".checkpoints/*/ranks*.ckpt")):
            saved[-1].unlink()  # so that an epoch comes again
        client, (run,) = runs(place)
        seen.append((statuses[0], run.info.status))
    assert seen == [
        (130, "KILLED"), (1, "FAILED"), (143, "KILLED"), (-9, "RUNNING"), (0, "FINISHED"),
    ]  # fmt: skip
    for key in ("train_loss", "validation_accuracy", "gradient_norm"):
        history = client.get_metric_history(run.info.run_id, key)
        assert sorted(point.step for point in history) == [1, 2, 3, 4, 5]
    table = (place / "reports/train/curves.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[0] for line in table] == ["epoch", "1", "2", "3", "4", "5"]


GO = """
import json, os, sys
from pipeline import __main__ as command
from pipeline.stages import train
from tests.test_train import sections
changes = json.loads(sys.argv[1])
print("process", os.environ.get("LOCAL_RANK", "0"), os.getpid(), flush=True)
command._run_stage = lambda *_: train.run(**sections(**changes))
sys.exit(command.main(["train"]))
"""
ALONE = {"train": {"epochs": 10_000}, "trainer": {"strategy": "ddp", "devices": 2}}


@pytest.mark.parametrize(
    ("victim", "number", "status", "told"),
    [
        ("1", signal.SIGKILL, 1, r"error: Rank 1 \(process \d+ on \S+\) was killed by SIGKILL"),
        ("0", signal.SIGINT, 130, r"stopped\Z"),
    ],
)
def test_processes_that_one_starts_end_with_it(
    places: list[Path], victim: str, number: int, status: int, told: str
) -> None:
    (places[0] / "go.py").write_text(GO, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes = {}
    with subprocess.Popen(
        [sys.executable, "go.py", json.dumps(ALONE)], cwd=places[0], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("process"):
                processes[line.split()[1]] = int(line.split()[2])
            if line.startswith("epoch 3/"):
                break
        os.kill(processes[victim], number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status, errors
    assert re.fullmatch(f"{told}.*", errors.strip(), flags=re.S), errors
    assert not any(psutil.pid_exists(one) for one in processes.values())
