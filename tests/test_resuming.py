"""Training that is killed ends with the weights of one that was not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from pipeline import bundle
from pipeline.bundle import load
from pipeline.errors import DivergenceError
from pipeline.schema import EngineSection
from pipeline.stages import train
from pipeline.tasks import folders, resuming
from pipeline.tasks.learner import Learner
from pipeline.tasks.resuming import Place
from tests import little
from tests.conftest import ROOT
from tests.test_train import sections

GO = """
import json, sys
from pipeline.stages import train
from pipeline.tasks.resuming import Place
from pipeline.tasks import resuming
from tests.test_train import sections
resuming.Resumable.__init__.__defaults__ = (0.0,)  # after every epoch
train.run(**sections(**json.loads(sys.argv[1])))
"""
CHANGES: dict[str, Any] = {
    # So many that a fast machine is never done before it is killed.
    "train": {"epochs": 60, "average": 0.9, "monitor": "accuracy"},
    "layers": {**little.LAYERS, "pool1": {"_target_": "torch.nn.Dropout", "p": 0.2}},
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    little.store(tmp_path / "data" / "tiles")
    (tmp_path / "go.py").write_text(GO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def begin(place: Path, changes: dict[str, Any] = CHANGES) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "go.py", json.dumps(changes)],
        cwd=place, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def epochs(place: Path) -> int:
    """Epochs in the newest checkpoint."""
    found = place.glob(".checkpoints/*/ranks*.ckpt")
    return max((Place.of(path).epochs for path in found), default=0)


def kill_after(place: Path, count: int, changes: dict[str, Any] = CHANGES) -> None:
    """Let a training come so far, and kill it at a random moment then."""
    with begin(place, changes) as process:
        while epochs(place) < count and process.poll() is None:
            time.sleep(0.01)
        time.sleep(random.random() * 0.05)
        process.send_signal(signal.SIGKILL)


def finish(place: Path, changes: dict[str, Any] = CHANGES) -> str:
    with begin(place, changes) as process:
        output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


def test_killed_training_ends_with_the_same_weights_and_the_same_curves(place: Path) -> None:
    finish(place)
    whole, curves = load().digest, Path("reports/train/curves.csv").read_bytes()
    assert not list(place.glob(".checkpoints/*"))
    for count in (1, 6, 12):
        kill_after(place, count)
        assert epochs(place) >= count
    output = finish(place)
    assert "Goes on after epoch" in output
    assert (load().digest, Path("reports/train/curves.csv").read_bytes()) == (whole, curves)
    assert not list(place.glob(".checkpoints/*"))


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(place: Path) -> None:
    finish(place)
    whole = load().digest
    kill_after(place, 5)
    newest = max(place.glob(".checkpoints/*/ranks*.ckpt"), key=lambda path: path.name)
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    output = finish(place)
    assert f"Passed over {newest.relative_to(place)}, which is damaged." in output
    assert "Goes on after epoch" in output
    assert load().digest == whole


def spoil(path: Path) -> None:
    """As a system does that fails in the middle of writing."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_whatever_file_is_damaged_nothing_is_lost_but_time(place: Path) -> None:
    # Nothing is learned, so that the best epoch is the first one.
    still = {**CHANGES, "optimizer": {"lr": 1e-30}}
    finish(place, still)
    whole = load().digest
    kill_after(place, 4, still)
    files = sorted(place.glob(".checkpoints/*/*"))
    newest = max((path for path in files if path.name.startswith("ranks")), key=Place.of)
    for path in files:
        if path != newest:
            spoil(path)
    assert "Goes on after epoch" in finish(place, still)
    assert load().digest == whole


def test_where_all_are_damaged_training_starts_afresh(place: Path) -> None:
    short = {**CHANGES, "train": {**CHANGES["train"], "epochs": 8}}
    finish(place, short)
    whole = load().digest
    kill_after(place, 3, short)
    for path in place.glob(".checkpoints/*/*"):
        spoil(path)
    output = finish(place, short)
    assert "which is damaged.\nStarts afresh: no whole checkpoint is left." in output
    assert "other devices" not in output
    assert load().digest == whole


def test_a_training_that_was_stopped_early_is_over_when_it_goes_on(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming.Resumable.__init__, "__defaults__", (0.0,))
    options = sections(train={"patience": 1, "epochs": 30}, optimizer={"lr": 1e-9})
    train.run(**options)
    table, whole = Path("reports/train/curves.csv"), load().digest
    curves = table.read_bytes()
    assert curves.count(b"\n") == 1 + 2

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bundle, "save", killed)  # after the last epoch, and before the bundle
        with pytest.raises(KeyboardInterrupt):
            train.run(**options)
    capsys.readouterr()
    train.run(**options)
    assert (table.read_bytes(), load().digest) == (curves, whole)
    output = capsys.readouterr().out
    assert "Goes on after epoch 2" in output
    assert "epoch 3/" not in output


def test_other_parameters_start_afresh_and_say_so(place: Path) -> None:
    kill_after(place, 2)
    output = finish(place, {**CHANGES, "train": {"epochs": 2, "seed": 5}})
    assert "Starts afresh: .checkpoints/" in output
    assert "was broken off with other parameters or tiles" in output
    assert "Goes on" not in output


def test_a_training_that_diverged_says_so_when_it_goes_on(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = Learner._learn

    def faulty(self: Learner, batch: Any, optimizer: Any) -> None:
        if self.steps == 15:  # of six an epoch
            batch.pixels.fill_(float("nan"))
        learn(self, batch, optimizer)

    monkeypatch.setattr(Learner, "_learn", faulty)
    monkeypatch.setattr(resuming.Resumable.__init__, "__defaults__", (0.0,))
    options = {"epochs": 4, "average": 0.9}
    for told in ("", "Goes on after epoch 2 of a training that diverged, and so will this one"):
        with pytest.raises(DivergenceError, match="in epoch 3, step 4"):
            train.run(**sections(train=options))
        output = capsys.readouterr().out
        assert told in output
        assert ("Goes on" in output) is bool(told)
    monkeypatch.setattr(Learner, "_learn", learn)
    train.run(**sections(train=options, optimizer={"lr": 0.003}))
    assert "was broken off with other parameters or tiles" in capsys.readouterr().out
    train.run(**sections(train=options))  # on another machine, say
    assert "Goes on after epoch 2 of a training that diverged" in capsys.readouterr().out
    assert not [path for path in place.glob(".checkpoints/*") if path.is_dir()]


def test_what_was_broken_off_is_told_once(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kill_after(place, 2)
    for seed, told in ((5, True), (6, False)):
        train.run(**sections(train={"epochs": 1, "seed": seed}))
        assert ("Starts afresh" in capsys.readouterr().out) is told
    assert "Goes on after epoch" in finish(place)


def test_a_queued_experiment_keeps_its_checkpoints_in_the_project(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [place / ".dvc/tmp/exps" / name for name in ("tmpa", "tmpb")]
    for copy in copies:
        copy.mkdir(parents=True)
        shutil.copytree(place / "data", copy / "data")
        shutil.copy(place / "go.py", copy)
    monkeypatch.setenv("DVC_ROOT", str(place))
    with begin(copies[0]) as process:
        while epochs(place) < 2 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    shutil.rmtree(copies[0])  # as DVC does
    assert "Goes on after epoch" in finish(copies[1])
    assert not list(place.glob(".checkpoints/*"))


def test_of_two_like_trainings_at_once_each_has_a_folder_of_its_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = place / ".checkpoints"
    with folders.own(root, "k") as (first, again):
        assert (first, again) == (root / "k", False)
        (first / "ranks1-32-epoch000001-step000000-0.ckpt").touch()
        with suppress(KeyboardInterrupt), folders.own(root, "k") as (second, again):
            assert (second, again) == (root / "k-2", False)
            assert folders.key_of(second) == folders.key_of(first) == "k"
            raise KeyboardInterrupt
        assert f"in {first}: this one keeps its checkpoints in {second}.\n" in (
            capsys.readouterr().out
        )
        assert folders.other_than(root / "l") is None  # the one that there is runs
        for name in "abcd":  # none of which the one that runs is counted to
            (root / name).mkdir()
            (root / name / "ranks1-32-epoch000001-step000000-0.ckpt").touch()
        folders.forget_oldest(root)
        assert len([name for name in "abcd" if (root / name).exists()]) == 3
        assert first.exists()
        with folders.own(root, "k") as (third, again):
            assert (third, again) == (second, True)
    assert not list(root.glob("k*"))
    with folders.own(root, "k") as (last, again):
        assert (last, again) == (first, False)


def test_few_broken_off_trainings_are_kept(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b", "c", "d", "e"):
        (place / ".checkpoints" / name).mkdir(parents=True)
        (place / ".checkpoints" / name / "ranks1-32-epoch000001-step000000-0.ckpt").touch()
        os.utime(place / ".checkpoints" / name, (ord(name), ord(name)))
    (place / ".checkpoints" / "mistake").mkdir()  # holds nothing, and counts for nothing
    train.run(**sections(train={"epochs": 1}))
    (place / ".checkpoints" / "mistake").rmdir()
    assert sorted(path.name for path in place.glob(".checkpoints/*")) == ["c", "d", "e"]


def test_another_precision_starts_afresh(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kill_after(place, 2)
    options = sections(**CHANGES) | {
        "engine": EngineSection(precision="bf16", threads=1, workers=None)
    }
    train.run(**options)
    output = capsys.readouterr().out
    assert "Goes on" not in output
    assert "broken off on other devices or in another precision" in output
