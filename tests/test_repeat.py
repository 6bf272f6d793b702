from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import repeat as command
from pipeline.comparison.outcome import Outcome
from pipeline.config import compose
from pipeline.errors import ConfigError, TrainingError
from tests.test_comparison import write_run


class Dvc:
    """Stands for DVC: an experiment is a folder of files, made when it is run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ran: list[str] = []
        self.status = 0

    def __call__(self, *arguments: str) -> int:
        if arguments[:2] == ("exp", "remove"):
            for name in arguments[2:]:
                (self.folder / name / "metrics.json").unlink()
            return 0
        assert arguments[:4] == ("exp", "run", "--temp", "-n")
        assert arguments[-1] == "evaluate"
        if not self.status:
            self.make(arguments[4], [a for a in arguments[5:-1] if a != "-S"])
        return self.status

    def make(self, name: str, overrides: Sequence[str]) -> None:
        self.ran.append(name)
        params = yaml.safe_load(compose(overrides))
        fold = params["split"]["fold"]
        place = self.folder / f"{name} {len(self.ran)}"
        write_run(
            place, 0.8, len(self.ran), params=params, tiles=range(100 * fold, 100 * fold + 99)
        )
        (self.folder / name).unlink(missing_ok=True)
        (self.folder / name).symlink_to(place)

    def names(self) -> list[str]:
        return [
            path.parent.name
            for path in self.folder.glob("*/metrics.json")
            if " " not in str(path.parent.name)
        ]

    def find(self, name: str) -> Outcome | None:
        there = (self.folder / name / "metrics.json").is_file()
        return Outcome.read(self.folder / name, name, "") if there else None


@pytest.fixture
def dvc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dvc:
    made = Dvc(tmp_path / "experiments")
    made.folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "_dvc", made)
    monkeypatch.setattr(command, "experiments", made.names)
    monkeypatch.setattr(command, "of_revision", made.find)
    return made


KFOLD = ["experiment=kfold", "split.folds=3"]


def test_folds_run_one_by_one_and_end_in_mean_and_deviation(
    dvc: Dvc, capsys: pytest.CaptureFixture[str]
) -> None:
    command.repeat(KFOLD)
    assert dvc.ran == ["vgg-fold-0", "vgg-fold-1", "vgg-fold-2"]
    printed = capsys.readouterr().out
    assert "vgg-fold-1: 2 of 3, split.fold=1" in printed
    assert "deviation" in printed
    assert "no pairs to compare" in printed
    assert "Over all 3 runs" in Path("reports/compare.html").read_text()


def test_what_is_done_is_taken_as_it_is_and_run_again_by_force(
    dvc: Dvc, capsys: pytest.CaptureFixture[str]
) -> None:
    dvc.make("vgg-fold-0", [*KFOLD, "split.fold=0"])
    command.repeat(KFOLD)
    assert dvc.ran == ["vgg-fold-0", "vgg-fold-1", "vgg-fold-2"]
    assert "vgg-fold-0: taken as it is" in capsys.readouterr().out
    command.repeat([*KFOLD, "train.epochs=2"], force=True)
    assert len(dvc.ran) == 6


def test_a_name_with_other_parameters_is_not_taken(dvc: Dvc) -> None:
    command.repeat(KFOLD)
    with pytest.raises(ConfigError, match=r"experiment vgg-fold-\d with other parameters.*--name"):
        command.repeat([*KFOLD, "train.epochs=2"])
    command.repeat([*KFOLD, "train.epochs=2"], name="short")
    assert dvc.ran[3:] == ["short-0", "short-1", "short-2"]


def test_seeds_are_seeds_of_training(dvc: Dvc) -> None:
    command.repeat(["experiment=seeds", "model=lecture", "repeat.times=2"])
    assert dvc.ran == ["lecture-seed-0", "lecture-seed-1"]
    seeds = [dvc.find(name) for name in dvc.ran]
    assert [run.params["train.seed"] for run in seeds if run] == [0, 1]


def test_a_run_that_fails_stops_the_rest(dvc: Dvc) -> None:
    dvc.status = 255
    with pytest.raises(TrainingError, match="vgg-fold-0 to end well, got status 255"):
        command.repeat(KFOLD)
    assert dvc.ran == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([], "what to repeat over, got repeat.over=null"),
        (["experiment=kfold", "split.folds=1"], "split.folds, got 1"),
        (["repeat.over=train.sed"], "Did you mean train.seed"),
        (
            ["repeat.over=model.nope"],
            r"model\.nope in the overrides\. Known keys: model\.name, .{,40}$",
        ),
    ],
)
def test_nothing_to_repeat_over_is_told_before_anything_runs(
    dvc: Dvc, overrides: list[str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        command.repeat(overrides)
    assert dvc.ran == []


def test_the_environment_of_a_stage_is_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    class Done:
        returncode = 3

    def run(arguments: list[str], **settings: Any) -> Done:
        seen.update(settings, arguments=arguments)
        return Done()

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("subprocess.run", run)
    assert command._dvc("exp", "run") == 3
    assert seen["arguments"][1:] == ["-m", "dvc", "exp", "run"]
    assert Path(seen["arguments"][0]).parent == Path(seen["env"]["PATH"].split(":")[0])
