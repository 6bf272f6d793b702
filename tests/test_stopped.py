"""A signal stops training after a step, whose state is kept to the bit."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline.bundle import load
from pipeline.tasks.resuming import Place
from tests import little
from tests.forked import Training
from tests.test_ranks import ONE, TWO, project

DROPOUT = {"_target_": "torch.nn.Dropout", "p": 0.2}
NORM = {"_target_": "torch.nn.BatchNorm2d"}
LAYERS = {**little.LAYERS, "pool1": DROPOUT}
KEPT = ".checkpoints/*/ranks*.ckpt"


def results(place: Path) -> tuple[str, bytes]:
    return load(place / "models").digest, (place / "reports/train/curves.csv").read_bytes()


def stop_and_go(
    places: list[Path], changes: dict[str, Any], stops: list[tuple[int, str]], **options: Any
) -> None:
    """Stop a training before such steps, and let it come to its end; told as a place each time."""
    before = ""
    for step, place in stops:
        training = Training(places, changes, ("interrupt", len(places) - 1, step), **options)
        assert training.run() == [130] * len(places), training.said()
        said = training.said()[0]
        assert said.endswith(
            f"Stopped after {place}; the same command goes on from there.\nstopped\n"
        )
        assert f"Goes on after {before}" in said or not before
        before = place
    training = Training(places, changes, **options)
    assert training.run() == [0] * len(places), training.said()
    assert f"Goes on after {before}, where" in training.said()[0]


# 91 tiles, 16 a step: 6 steps an epoch.
STOPS = [(1, "epoch 0 and 2 steps"), (4, "epoch 0 and 5 steps"), (15, "epoch 2 and 4 steps"),
         (17, "epoch 3"), (24, "epoch 4 and 1 step"), (29, "epoch 5")]  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [
        {"train": {"batch_size": 16, "epochs": 5, "average": 0.9}, "data": {"mode": "streamed"}},
        {"train": {"batch_size": 16, "epochs": 5, "swa": 0.7, "sampling": "balanced"},
         "layers": {**LAYERS, "relu1": NORM}, "loss": {"class_weights": {"trees": 3.0}}},
    ],
    ids=["streamed", "swa"],
)  # fmt: skip
def test_a_signal_keeps_the_step_at_which_it_stops(tmp_path: Path, more: dict[str, Any]) -> None:
    changes = {**ONE, "layers": LAYERS, **more}
    alone, stopped = project(tmp_path / "alone"), project(tmp_path / "stopped")
    assert Training([alone], changes).run() == [0]
    stop_and_go([stopped], changes, STOPS)
    assert results(stopped) == results(alone)
    assert not list(stopped.glob(KEPT))


def test_ranks_stop_together_after_a_chunk_of_steps(tmp_path: Path) -> None:
    changes = {**TWO, "layers": {**LAYERS, "relu1": NORM}}  # each draws and measures by itself
    alone = [project(tmp_path / f"alone{rank}") for rank in range(2)]
    stopped = [project(tmp_path / f"stopped{rank}") for rank in range(2)]
    assert Training(alone, changes, chunk=2).run() == [0, 0]
    stops = [(1, "epoch 0 and 2 steps"), (14, "epoch 2 and 4 steps")]
    stop_and_go(stopped, changes, stops, chunk=2)
    assert results(stopped[0]) == results(alone[0])


def test_a_second_signal_ends_at_once_and_keeps_the_last_epoch(tmp_path: Path) -> None:
    place = project(tmp_path / "place")
    training = Training([place], ONE, ("hang", 0, 14), patience=60.0)
    training.begin()
    training.await_hang()
    training.send(signal.SIGINT, 0)
    time.sleep(0.1)
    training.send(signal.SIGINT, 0)  # the same one, from a program that hands it on
    time.sleep(1.1)
    assert training.processes[0].is_alive()
    training.send(signal.SIGINT, 0)
    begun = time.monotonic()
    assert training.end() == [130]
    assert time.monotonic() - begun < 8
    assert training.said()[0].endswith("\nstopped\n")
    assert "Stopped after" not in training.said()[0]
    assert sorted(Place.of(path) for path in place.glob(KEPT)) == [(1, 0), (2, 0)]
