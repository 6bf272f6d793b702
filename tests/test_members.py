"""Training of several networks that vote."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import bundle, calibration, side_by_side
from pipeline.bundle import Bundle
from pipeline.ensemble import Ensemble
from pipeline.errors import BundleError, ConfigError, LayerError, TrainingError
from pipeline.members import seed_of
from pipeline.order import Order, bootstrap
from pipeline.places import Places
from pipeline.schema import EngineSection, TrackingSection
from pipeline.stages import train
from pipeline.store import Store
from pipeline.tasks.fitting import Plan
from pipeline.trained import Trained
from tests import forked, little
from tests.conftest import ROOT
from tests.test_train import sections

OTHER = {**little.LAYERS, "conv2": {**little.LAYERS["conv2"], "out_channels": 3}}
NETWORKS = {
    "little": {"name": "little", "layers": little.LAYERS},
    "other": {"name": "other", "layers": OTHER},
}
MODELS = {"member_models": ["little", "other"], "member_networks": NETWORKS}
SIDE_BY_SIDE = EngineSection(precision="32", threads=1, workers=None, members=2)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data").mkdir()
    little.store(tmp_path / "data" / "tiles")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> EngineSection:
    """Two members at a time, in processes that need not import everything anew."""
    monkeypatch.setattr(side_by_side, "get_context", lambda _: forked.context())
    return SIDE_BY_SIDE


def networks(kept: Bundle) -> list[dict[str, torch.Tensor]]:
    """Weights of each member."""
    assert isinstance(kept.network, Ensemble)
    return [member.state_dict() for member in kept.network.networks]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


def test_members_are_what_networks_of_their_seeds_would_be(place: Path) -> None:
    train.run(**sections(train={"epochs": 2, "members": 2}))
    kept = bundle.load()
    seeds = [0, seed_of(0, 1)]
    assert [member.seed for member in kept.members] == seeds
    for seed, member in zip(seeds, networks(kept), strict=True):
        train.run(**sections(train={"epochs": 2, "seed": seed}))
        assert same(bundle.load().network.state_dict(), member)
    assert not same(*networks(kept))


def test_seeds_of_members_differ_and_are_those_of_a_training() -> None:
    seeds = {seed_of(seed, member) for seed in range(20) for member in range(20)}
    assert len(seeds) == 400
    assert [seed_of(seed, 0) for seed in (0, 5)] == [0, 5]
    assert seed_of(3, 2) == seed_of(3, 2)


def test_the_curves_of_all_members_are_one_table(place: Path) -> None:
    train.run(**sections(train={"epochs": 8, "members": 2}))
    with Path("reports/train/curves.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["member"], row["epoch"]) for row in rows] == [
        (member, epoch) for member in "01" for epoch in "12345678"
    ]
    assert "validation_accuracy" in rows[0]
    kept = bundle.load()
    store = Store.open()
    for i, member in enumerate(kept.members):
        found = kept.member(i).probabilities(store.pixels("validation"), batch_size=64)
        accuracy = float((found.argmax(axis=1) == store.labels("validation")).mean())
        assert member.accuracy == pytest.approx(accuracy)
        bare = calibration.tempered(found, 1 / member.temperature)
        places = Places.of(store.index, store.split_range("validation"))
        fitted = calibration.guarded(bare, store.labels("validation"), places)
        assert member.temperature == pytest.approx(fitted.temperature, rel=1e-3)
    assert 1.0 not in [member.temperature for member in kept.members]
    assert not list(place.glob(".checkpoints/*"))


def test_members_of_several_models_come_in_turn(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.run(**sections(train={"epochs": 1, "members": 3, **MODELS}))
    kept = bundle.load()
    assert [member.model for member in kept.members] == ["little", "other", "little"]
    assert kept.params["train"]["member_networks"]["other"]["layers"] == OTHER
    assert "member 1 (other): epoch 1/1" in capsys.readouterr().out


def test_what_members_say_alone_is_told_with_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, kept = little.ensemble_project(tmp_path)
    assert len(Trained(store, kept).opinions("validation", 8)) == 3
    told = [
        line.partition(": batches of validation: 2")[0]
        for line in capsys.readouterr().out.splitlines()
    ]
    assert told == ["member 0 (mlp)", "member 1 (little)", "member 2 (little)"]


def test_side_by_side_gives_the_same_bytes(
    place: Path, at_once: EngineSection, capsys: pytest.CaptureFixture[str]
) -> None:
    options = sections(train={"epochs": 2, "members": 3, "bootstrap": True, **MODELS})
    train.run(**options)
    files = [*place.glob("models/*"), place / "reports/train/curves.csv"]
    before = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()
    capsys.readouterr()
    train.run(**options | {"engine": at_once})
    assert [path.read_bytes() for path in files] == before
    printed = capsys.readouterr().out
    assert "2 members at a time, a process each." in printed
    assert printed.count("epoch 2/2") == 3
    assert "member 2 (little): Kept epoch" in printed


def test_two_processes_train_each_member_together(place: Path) -> None:
    plain = {"flips": False, "quarter_turns": False, "noise": 0}
    options = {"train": {"batch_size": 8, "members": 2}, "augment": plain}
    where = {"strategy": "ddp", "num_nodes": 2}
    ranks = forked.Training([place, place], {**options, "trainer": where})
    assert ranks.run() == [0, 0], ranks.said()
    both = networks(bundle.load())
    train.run(**sections(train={"batch_size": 16, "members": 2}, augment=plain))
    for member, other in zip(networks(bundle.load()), both, strict=True):
        for key, value in member.items():
            torch.testing.assert_close(other[key], value, rtol=1e-2, atol=1e-4)


def test_several_at_a_time_and_all_processes_on_each_is_refused(place: Path) -> None:
    options = sections(train={"members": 2}, trainer={"strategy": "ddp", "devices": 2})
    with pytest.raises(ConfigError, match=r"engine\.members=1 where all processes.*got 2"):
        train.run(**options | {"engine": SIDE_BY_SIDE})


@pytest.mark.parametrize(
    ("where", "visible", "wanted", "expected", "names"),
    [
        ({"accelerator": "auto", "devices": "auto"}, None, None, 4, ["0", "1", "2", "3"]),
        ({"accelerator": "gpu", "devices": 2}, None, None, 2, ["0", "1"]),
        ({"accelerator": "gpu", "devices": "auto"}, "2,5", None, 2, ["2", "5"]),
        ({"accelerator": "gpu", "devices": "auto"}, None, 1, 1, ["0", "1", "2", "3"]),
        ({"accelerator": "gpu", "devices": "auto"}, None, 9, 5, ["0", "1", "2", "3"]),
        ({"accelerator": "cpu", "devices": 1}, None, None, 1, []),
        ({"accelerator": "gpu", "devices": 2, "strategy": "ddp"}, None, None, 1, ["0", "1"]),
    ],
)
def test_each_gpu_takes_a_member_at_a_time(
    where: dict[str, Any],
    visible: str | None,
    wanted: int | None,
    expected: int,
    names: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.delenv(side_by_side.GPUS, raising=False)
    if visible is not None:
        monkeypatch.setenv(side_by_side.GPUS, visible)
    plan = Plan(**sections(train={"members": 5}, trainer=where))
    engine = plan.engine.model_copy(update={"members": wanted})
    plan = dataclasses.replace(plan, engine=engine)
    assert side_by_side.at_once(plan, 5) == expected
    assert side_by_side.gpus(plan) == names


def test_a_process_of_its_own_has_one_device_and_its_share_of_the_memory() -> None:
    plan = Plan(**sections(data={"memory": 100}, trainer={"accelerator": "gpu", "devices": 4}))
    mine = side_by_side.alone(plan, "3", 4)
    assert (mine.trainer.devices, mine.data.memory) == (1, 25)
    assert side_by_side.alone(plan, None, 2).data.memory == 50
    unlimited = dataclasses.replace(plan, data=plan.data.model_copy(update={"memory": None}))
    assert side_by_side.alone(unlimited, "0", 4).data.memory is None  # a GPU has its own
    free = side_by_side.alone(unlimited, None, 2).data.memory
    assert free is not None
    assert free > 0


def test_a_bootstrap_is_a_sample_of_its_own_for_each_member() -> None:
    counts = [bootstrap(1000, seed_of(0, member)) for member in range(3)]
    for one in counts:
        assert one.sum() == 1000
        assert 0.6 < (one > 0).mean() < 0.67  # 1 - 1 / e
    assert len({one.tobytes() for one in counts}) == 3
    assert np.array_equal(counts[1], bootstrap(1000, seed_of(0, 1)))
    rows = [Order(1000, 1, seed=7, epoch=e, counts=counts[1]).rows() for e in (0, 1)]
    for one in rows:
        assert np.array_equal(np.bincount(one, minlength=1000), counts[1])
    assert not np.array_equal(rows[0], rows[1])


def test_members_learn_from_their_sample_alone(place: Path) -> None:
    seen: list[np.ndarray] = []
    from pipeline.feeding import Resident

    take = Resident.take

    def watched(self: Resident, rows: np.ndarray) -> Any:
        if len(self) == 90:
            seen.append(rows)
        return take(self, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Resident, "take", watched)
        train.run(**sections(train={"epochs": 2, "members": 2, "bootstrap": True}))
    rows = np.concatenate(seen).reshape(4, 90)  # members x epochs
    for member, epochs in enumerate((rows[:2], rows[2:])):
        expected = bootstrap(90, seed_of(0, member))
        for one in epochs:
            assert np.array_equal(np.bincount(one, minlength=90), expected)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": {"freeze": ["conv1", "pool2"]}}, r"Member 0 \(little\).*train\.freeze"),
        ({"optimizer": {"factors": {"c*": 0.5, "convx": 2}}}, r"Member 0.*optimizer\.factors"),
    ],
)
def test_a_layer_that_a_member_has_not_is_told_before_any_is_trained(
    place: Path, changes: dict[str, Any], words: str
) -> None:
    members = {"members": 2, **changes.get("train", {})}
    with pytest.raises(LayerError, match=words):
        train.run(**sections(**{**changes, "train": members}))
    assert not (place / ".checkpoints").exists()


def test_frozen_layers_of_every_member_stay_as_the_donor_had_them(
    place: Path, at_once: EngineSection
) -> None:
    train.run(**sections(train={"epochs": 1, "members": 2}))
    (place / "models").rename(place / "donor")
    donors = networks(bundle.load(place / "donor"))
    start = {"epochs": 1, "init_from": str(place / "donor"), "freeze": ["conv1"]}
    for engine in (little.ENGINE, at_once):
        train.run(**sections(train={**start, "members": 3}) | {"engine": engine})
        kept = bundle.load()
        assert kept.params["donor"]["digest"] == bundle.load(place / "donor").digest
        assert len(kept.params["donor"]["members"]) == 3
        for i, member in enumerate(networks(kept)):
            assert torch.equal(member["conv1.weight"], donors[i % 2]["conv1.weight"])
            assert not torch.equal(member["conv2.weight"], donors[i % 2]["conv2.weight"])
    train.run(**sections(train=start))
    best = bundle.load(place / "donor").network
    assert isinstance(best, Ensemble)
    kept_layer = bundle.load().network.state_dict()["conv1.weight"]
    assert torch.equal(kept_layer, donors[best.best]["conv1.weight"])


GO = """
import json, sys
from pipeline.schema import EngineSection
from pipeline.stages import train
from pipeline.tasks import resuming
from tests.test_train import sections
resuming.Resumable.__init__.__defaults__ = (0.0,)  # after every epoch, in processes of members too
if __name__ == "__main__":
    engine = EngineSection(precision="32", threads=1, workers=None, members=2)
    train.run(**sections(**json.loads(sys.argv[1])) | {"engine": engine})
"""
# Long enough to be killed in the middle of a member.
LONG = {"train": {"epochs": 40, "members": 3, "average": 0.9}}


def begin(place: Path) -> subprocess.Popen[str]:
    """The training, two members at a time, as a command starts it."""
    (place / "go.py").write_text(GO)
    return subprocess.Popen(
        [sys.executable, "go.py", json.dumps(LONG)],
        cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def wait_for(place: Path, *patterns: str, since: float = 0.0) -> None:
    """Wait until the training has written such files, after a moment."""
    deadline = time.monotonic() + 120
    while not all(_newest(place, pattern) > since for pattern in patterns):
        assert time.monotonic() < deadline, list(place.glob(".checkpoints/*/*"))
        time.sleep(0.02)


def _newest(place: Path, pattern: str) -> float:
    times = [0.0]
    for path in place.glob(f".checkpoints/*/{pattern}"):
        with suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """Digest and curves of the long training."""
    place = tmp_path_factory.mktemp("undisturbed")
    (place / "data").mkdir()
    little.store(place / "data" / "tiles")
    whole = forked.Training([place], LONG)
    assert whole.run() == [0], whole.said()
    curves = (place / "reports/train/curves.csv").read_bytes()
    return bundle.load(place / "models").digest, curves


def outcome(place: Path) -> tuple[str, bytes]:
    """The same of a training that has come to its end, and left nothing to go on from."""
    assert not list(place.glob(".checkpoints/*"))
    curves = (place / "reports/train/curves.csv").read_bytes()
    return bundle.load(place / "models").digest, curves


def test_members_go_on_after_a_kill_and_those_that_are_done_stay(
    place: Path, undisturbed: tuple[str, bytes]
) -> None:
    killed = forked.Training([place], LONG)
    killed.begin()
    wait_for(place, f"member0/{bundle.WEIGHTS}", "member1/ranks*.ckpt")
    killed.send(signal.SIGKILL, 0)
    assert killed.end() == [-signal.SIGKILL]
    again = forked.Training([place], LONG)
    assert again.run() == [0]
    (output,) = again.said()
    output = output.partition("1 of 3 members are trained already.")[2]
    assert "member 0 (little): epoch" not in output
    assert "member 1 (little): Goes on after epoch" in output
    assert "Starts afresh" not in output
    assert outcome(place) == undisturbed


def processes_of(place: Path) -> list[int]:
    """Processes that work in a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").resolve() == place.resolve():
                found.append(int(entry.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="no /proc to find processes in")
def test_processes_of_members_end_with_the_one_that_started_them_and_their_work_goes_on(
    place: Path, undisturbed: tuple[str, bytes]
) -> None:
    later = (f"member[01]/{bundle.WEIGHTS}", "member2/ranks*.ckpt")
    for number, files in ((signal.SIGINT, ("member1/ranks*.ckpt",)), (signal.SIGKILL, later)):
        started = time.time()
        with begin(place) as process:
            wait_for(place, *files, since=started)
            assert len(processes_of(place)) >= 2
            process.send_signal(number)
            process.communicate(timeout=60)
        deadline = time.monotonic() + 20
        while processes_of(place) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert processes_of(place) == [], number
    rest = forked.Training([place], LONG)  # one after the other, which comes to the same
    assert rest.run() == [0]
    (output,) = rest.said()
    assert "of 3 members are trained already" in output
    assert "member 2 (little): Goes on after epoch" in output
    assert "Starts afresh" not in output
    assert outcome(place) == undisturbed


def test_a_member_that_fails_stops_the_others_with_its_reason(
    place: Path, at_once: EngineSection
) -> None:
    options = sections(train={"epochs": 60, "members": 2}, optimizer={"lr": 1e30})
    with pytest.raises(TrainingError, match=r"Member \d \(little\): Expected a finite"):
        train.run(**options | {"engine": at_once})


def test_curves_of_members_are_in_one_run(place: Path, at_once: EngineSection) -> None:
    tracking = TrackingSection(enabled=True, experiment="test", uri=f"sqlite:///{place}/runs.db")
    for engine in (little.ENGINE, at_once):
        options = sections(train={"epochs": 2, "members": 2, "seed": len(os.listdir(place))})
        train.run(**options | {"tracking": tracking, "engine": engine})
    with sqlite3.connect(place / "runs.db") as database:
        rows = database.execute(
            "select run_uuid, key, step from metrics where key like 'validation_loss%'"
        ).fetchall()
        names = database.execute("select name from runs").fetchall()
        told = dict(database.execute("select key, value from params").fetchall())
    assert set(names) == {("2 x little",)}
    assert (told["model.name"], told["train.members"]) == ("2 x little", "2")
    runs = {run for run, _, _ in rows}
    assert len(runs) == 2
    for run in runs:
        assert sorted((key, step) for one, key, step in rows if one == run) == [
            (f"validation_loss/member{member}", step) for member in (0, 1) for step in (1, 2)
        ]


def test_a_torn_member_is_trained_again(place: Path) -> None:
    from pipeline import members

    train.run(**sections(train={"epochs": 1}))
    (place / "models").rename(place / "member0")
    assert members.done(place, 0) is not None
    (place / "member0" / bundle.WEIGHTS).write_bytes(b"torn")
    assert members.done(place, 0) is None
    with pytest.raises(BundleError, match="torn"):
        bundle.load(place / "member0")
