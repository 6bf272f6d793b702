"""Ranks end together, with the cause, and go on together."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.bundle import load
from tests import little
from tests.forked import Fault, Training

# Two machines of one process each; without augmentation, which each rank draws by itself.
PLAIN = {"flips": False, "quarter_turns": False, "noise": 0}
TWO = {
    "augment": PLAIN,
    "train": {"batch_size": 8, "epochs": 5},
    "trainer": {"strategy": "ddp", "num_nodes": 2},
}
ONE = {"augment": PLAIN, "train": {"batch_size": 16, "epochs": 5}}


def project(place: Path) -> Path:
    (place / "data").mkdir(parents=True)
    little.store(place / "data" / "tiles")
    return place


@pytest.fixture
def places(tmp_path: Path) -> list[Path]:
    """Two machines that share no folder."""
    return [project(tmp_path / name) for name in ("first", "second")]


def weights(place: Path) -> dict[str, torch.Tensor]:
    return load(place / "models").network.state_dict()


def assert_like_one(place: Path, alone: Path) -> None:
    """As near to one process of twice the batch as rounding leaves it."""
    assert Training([project(alone)], ONE).run() == [0]
    for name, value in weights(alone).items():
        np.testing.assert_allclose(weights(place)[name], value, rtol=0, atol=1e-5)


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_any_rank_stops_all(places: list[Path], number: int) -> None:
    rank = int(number == signal.SIGTERM)
    training = Training(places, TWO | {"train": {"batch_size": 8, "epochs": 2000}})
    training.begin()
    training.await_epoch(3)
    training.send(number, rank)
    assert training.end() == [128 + number] * 2
    assert [said.splitlines()[-1] for said in training.said()] == ["stopped"] * 2
    assert list(places[0].glob(".checkpoints/*/*.ckpt"))
