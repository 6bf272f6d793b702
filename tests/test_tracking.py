"""Runs in a store that the whole module shares; each test has an experiment of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import tracking
from pipeline.errors import TrackingError
from pipeline.schema import TrackingSection
from pipeline.tracking import place
from pipeline.tracking.names import NAME_LENGTH, compared, run_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Recorded

PARAMS: dict[str, Any] = {
    "source": {"kind": "scenes", "root": "data/sample"},
    "tiles": {"size": 28, "stride": None},
    "model": {"name": "lecture", "layers": {"conv1": {"_target_": "torch.nn.LazyConv2d"}}},
    "optimizer": {"name": "sgd", "lr": 0.01, "nesterov": True},
    "train": {"epochs": 3, "patience": None, "donor": "a/file"},
    "trainer": {"devices": 2},
}
DATA = tracking.Dataset(
    name="sample",
    digest="ab" * 32,
    counts={"train": {"water": 3, "trees": 5}, "test": {"water": 1, "trees": 2}},
    bands=("red", "green", "blue", "nir"),
    tile_size=28,
)
VARIABLES = ("DVC_EXP_NAME", "DVC_EXP_BASELINE_REV", "DVC_ROOT", "MLFLOW_TRACKING_URI")


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *place.RANKS):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture
def section(uri: str, request: pytest.FixtureRequest) -> TrackingSection:
    return TrackingSection(enabled=True, experiment=request.node.name, uri=uri)


@pytest.fixture(scope="module")
def client(uri: str) -> Iterator[MlflowClient]:
    from pipeline.tracking.client import connect, reaching

    with reaching(uri):
        yield connect(uri, "quadband")[0]


def runs_of(client: MlflowClient, section: TrackingSection) -> list[Recorded]:
    experiment = client.get_experiment_by_name(section.experiment)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_a_mapping_of_globs_is_one_parameter() -> None:
    params = {"optimizer": {"lr": 0.1, "factors": {"backbone.*": 0.1, "fc": 1.0}}}
    assert compared(params) == {
        "optimizer.lr": "0.1",
        "optimizer.factors": '{"backbone.*": 0.1, "fc": 1.0}',
    }


def test_only_what_people_compare_becomes_a_parameter() -> None:
    assert compared(PARAMS) == {
        "source.kind": "scenes",
        "tiles.size": "28",
        "model.name": "lecture",
        "optimizer.name": "sgd",
        "optimizer.lr": "0.01",
        "optimizer.nesterov": "true",
        "train.epochs": "3",
    }


def test_networks_that_vote_are_named_by_what_they_are() -> None:
    networks = {"lenet": {"name": "lenet"}, "mine": {"name": "own"}}
    several = {"member_models": ["lenet", "mine"], "member_networks": networks, "members": 1}
    params = {**PARAMS, "train": several}
    told = compared(params)
    assert told["model.name"] == "2 x lenet, own"
    assert told["train.members"] == "2"
    assert told["train.member_models"] == '["lenet", "mine"]'
    assert not [key for key in told if key.startswith("train.member_networks")]
    overrides = ["train.member_models=[lenet,mine]", "optimizer.lr=0.01"]
    assert run_name(params, overrides) == "2 x lenet, own lr=0.01"
    seeds = {**PARAMS, "train": {"members": 5, "member_models": []}}
    assert run_name(seeds, ["model=lecture", "train.members=5"]) == "5 x lecture"
    assert compared(seeds)["model.name"] == "5 x lecture"
    alone = {**params, "train": {**several, "member_models": ["mine"]}}
    assert run_name(alone, []) == compared(alone)["model.name"] == "own"


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        ([], "lecture"),
        (["model=lecture"], "lecture"),
        (["model.name=lecture", "optimizer.lr=0.01"], "lecture lr=0.01"),
        (["optimizer=adam", "+train.epochs=9"], "lecture adam epochs=9"),
        (["~model.layers.drop"], "lecture -drop"),
        ([f"train.seed={'9' * 12}"] * 4, f"lecture seed={'9' * 12} +3"),
    ],
)
def test_a_run_is_named_after_what_differs(overrides: list[str], name: str) -> None:
    assert run_name(PARAMS, overrides) == name
    assert len(name) <= NAME_LENGTH


def test_the_root_is_dvcs_else_the_nearest_parent_with_a_dvc_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".dvc" / "tmp" / "exps" / "copy" / ".dvc").mkdir(parents=True)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "er")
    assert place.project_root() == tmp_path
    monkeypatch.chdir(tmp_path / ".dvc" / "tmp" / "exps" / "copy")
    assert place.project_root({"DVC_ROOT": str(tmp_path)}) == tmp_path


def test_a_setting_beats_the_environment_which_beats_the_root(tmp_path: Path) -> None:
    here = {"DVC_ROOT": str(tmp_path)}
    served = {**here, "MLFLOW_TRACKING_URI": "http://127.0.0.1:5000"}
    assert place.tracking_uri(None, here) == f"sqlite:///{tmp_path}/mlflow.db"
    assert place.tracking_uri(None, served) == "http://127.0.0.1:5000"
    assert place.tracking_uri("sqlite:///a.db", served) == f"sqlite:///{tmp_path}/a.db"
    assert place.artifact_location(f"sqlite:///{tmp_path}/a.db") == f"file://{tmp_path}/mlartifacts"
    assert place.artifact_location("https://mlflow.example") is None


@pytest.mark.parametrize("variable", place.RANKS)
def test_only_rank_zero_logs(
    variable: str, section: TrackingSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "0")
    assert place.rank_zero()
    monkeypatch.setenv(variable, "1")
    assert tracking.start(section, params=PARAMS).id == ""


def test_a_run_that_is_not_recorded_takes_all_without_importing_mlflow(tmp_path: Path) -> None:
    code = """
import sys
from pipeline import tracking
from pipeline.schema import TrackingSection
section = TrackingSection(enabled=False, experiment="x", uri=None)
data = tracking.Dataset("sample", "ab", {}, ("red",), 28)
with tracking.start(section, params={}, data=data) as run, tracking.find(section, "ab"):
    run.tag("a", "b"); run.parameters({}); run.dataset(data)
    run.metrics({"loss": 1.0}, 1); run.figure(__file__)
print([name for name in ("mlflow", "torch", "pandas") if name in sys.modules])
"""
    script = tmp_path / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    answer = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert answer.stdout.strip() == "[]", answer.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["script.py"]


def test_a_run_holds_parameters_curves_data_and_tags(
    section: TrackingSection,
    client: MlflowClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_EXP_NAME", "lobar-ketu")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", "1" * 40)
    (tmp_path / "params.yaml").write_text("whole: true\n")
    (tmp_path / "curve.png").write_bytes(b"png")
    overrides = ["optimizer.lr=0.01", "train.epochs=3"]
    with tracking.start(section, params=PARAMS, overrides=overrides, data=DATA) as run:
        for epoch in (1, 2, 3):
            run.metrics({"train_loss": 1 / epoch}, epoch)
        run.metrics({"test_accuracy": 0.9})
        run.figure("curve.png")
    (found,) = runs_of(client, section)
    assert (found.info.run_id, found.info.run_name) == (run.id, "lobar-ketu")
    assert found.info.status == "FINISHED"
    assert found.data.params == compared(PARAMS)
    assert found.data.metrics == {"train_loss": pytest.approx(1 / 3), "test_accuracy": 0.9}
    curve = client.get_metric_history(run.id, "train_loss")
    assert [(point.step, point.value) for point in curve] == [(1, 1.0), (2, 0.5), (3, 1 / 3)]
    tags = {key: found.data.tags[key] for key in ("dvc_experiment", "overrides", "data_digest")}
    assert tags == {
        "dvc_experiment": "lobar-ketu",
        "overrides": "optimizer.lr=0.01 train.epochs=3",
        "data_digest": "ab" * 32,
    }
    assert found.data.tags["mlflow.source.git.commit"] == "1" * 40
    kept = {
        item.path for folder in ("", "figures") for item in client.list_artifacts(run.id, folder)
    }
    assert kept == {"params.yaml", "figures", "figures/curve.png"}
    assert found.inputs is not None
    (used,) = found.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("sample", "ab" * 4)
    assert json.loads(used.dataset.profile or "")["tiles"] == {"train": 8, "test": 3}
    assert used.tags[0].value == "training"


def test_the_experiment_opens_in_the_view_for_model_training(
    section: TrackingSection, client: MlflowClient, tmp_path: Path
) -> None:
    client.create_experiment(section.experiment, tmp_path.as_uri())  # a user's, without the tag
    tracking.start(section, params=PARAMS).finish()
    experiment = client.get_experiment_by_name(section.experiment)
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_later_stage_adds_to_the_newest_run_and_leaves_it_finished(
    section: TrackingSection, client: MlflowClient
) -> None:
    for _ in range(2):
        with tracking.start(section, params=PARAMS) as run:
            run.tag("model_digest", "f" * 64)
        time.sleep(0.01)  # MLflow orders by milliseconds
    ended = client.get_run(run.id).info.end_time
    with tracking.find(section, "f" * 64) as later:
        later.metrics({"test_kappa": 0.8})
    found = client.get_run(run.id)
    assert later.id == run.id
    assert found.data.metrics == {"test_kappa": 0.8}
    assert (found.info.status, found.info.end_time) == ("FINISHED", ended)


def test_a_folder_kept_anew_has_nothing_of_the_one_before(
    section: TrackingSection, client: MlflowClient, tmp_path: Path
) -> None:
    with tracking.start(section, params=PARAMS) as run:
        for name in ("one.png", "two.png"):
            folder = tmp_path / name.partition(".")[0]
            folder.mkdir()
            (folder / name).touch()
            run.artifact(folder, "visualize", anew=True)
        run.figure(tmp_path / "one" / "one.png")
    for kind, name in (("visualize", "two.png"), ("figures", "one.png")):
        kept = [item.path for item in client.list_artifacts(run.id, kind)]
        assert kept == [f"{kind}/{name}"]


def test_the_throughput_of_weights_is_that_of_the_run_that_made_them(
    section: TrackingSection, tmp_path: Path
) -> None:
    assert tracking.throughput(section, "a1" * 32) == []
    with tracking.start(section, params=PARAMS) as run:
        run.metrics({"throughput": 500.0, "train_loss": 1.0}, 1)
        run.metrics({"throughput": 750.0}, 2)
        run.tag("model_digest", "a1" * 32)
    assert tracking.throughput(section, "a1" * 32) == [500.0, 750.0]
    assert tracking.throughput(section, "b2" * 32) == []
    missing = section.model_copy(update={"uri": f"sqlite:///{tmp_path / 'none.db'}"})
    assert tracking.throughput(missing, "a1" * 32) == []
    assert not (tmp_path / "none.db").exists()


def test_a_failing_later_stage_does_not_fail_the_training(
    section: TrackingSection, client: MlflowClient
) -> None:
    with tracking.start(section, params=PARAMS) as run:
        run.tag("model_digest", "f" * 64)
    with pytest.raises(ValueError, match="broken"), tracking.find(section, "f" * 64):
        raise ValueError("broken")
    assert client.get_run(run.id).info.status == "FINISHED"


def test_equal_weights_of_two_experiments_stay_apart(
    section: TrackingSection, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = {}
    for name in ("first", "second"):
        monkeypatch.setenv("DVC_EXP_NAME", name)
        with tracking.start(section, params=PARAMS) as run:
            run.tag("model_digest", "f" * 64)
        opened[name] = run.id
    monkeypatch.setenv("DVC_EXP_NAME", "first")
    assert tracking.find(section, "f" * 64).id == opened["first"]
    monkeypatch.setenv("DVC_EXP_NAME", "third")
    assert tracking.find(section, "f" * 64).id == opened["second"]


def test_weights_without_a_run_get_a_new_one_and_it_is_said(
    section: TrackingSection, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with tracking.find(section, "e" * 64, params=PARAMS) as run:
        pass
    said = capsys.readouterr().out
    assert said == f"MLflow has no run of weights {'e' * 12}: opened a new one, lecture.\n"
    (found,) = runs_of(client, section)
    assert (found.info.run_id, found.info.status) == (run.id, "FINISHED")
    assert found.data.params["optimizer.lr"] == "0.01"
    assert tracking.find(section, "e" * 64).id == run.id


@pytest.mark.parametrize(
    ("error", "status"),
    [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED"), (SystemExit, "KILLED")],
)
def test_how_a_run_ended_is_recorded(
    error: type[BaseException], status: str, section: TrackingSection, client: MlflowClient
) -> None:
    with pytest.raises(error), tracking.start(section, params=PARAMS) as run:
        raise error
    assert client.get_run(run.id).info.status == status


def test_a_store_that_fails_for_a_while_costs_a_warning_and_no_number(
    section: TrackingSection,
    client: MlflowClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("no route to host")

    with tracking.start(section, params=PARAMS) as run:
        with monkeypatch.context() as broken:
            broken.setattr("mlflow.MlflowClient.log_batch", refuse)
            run.metrics({"train_loss": 2.0}, 1)
            run.metrics({"train_loss": 1.0}, 2)
        run.metrics({"train_loss": 0.5}, 3)
    assert capsys.readouterr().err.count("no route to host") == 1
    curve = client.get_metric_history(run.id, "train_loss")
    assert [point.value for point in curve] == [2.0, 1.0, 0.5]


def test_a_missing_figure_is_a_mistake_of_the_stage(section: TrackingSection) -> None:
    with pytest.raises(FileNotFoundError), tracking.start(section, params=PARAMS) as run:
        run.figure("nowhere.png")


def test_an_unreachable_server_is_told_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: refuses
        address = f"http://127.0.0.1:{held.getsockname()[1]}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        begun = time.perf_counter()
        with pytest.raises(TrackingError, match=f"{address}.*tracking.enabled=false"):
            tracking.start(
                TrackingSection(enabled=True, experiment="quadband", uri=None), params=PARAMS
            )
    assert time.perf_counter() - begun < 20


@pytest.mark.parametrize("store", ["./mlruns", "file:///nowhere/mlruns"])
def test_a_file_store_is_refused_with_what_to_use(
    store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    section = TrackingSection(enabled=True, experiment="quadband", uri=store)
    with pytest.raises(TrackingError, match=r"sqlite:///mlflow\.db"):
        tracking.start(section, params=PARAMS)


def test_a_deleted_experiment_is_told_with_its_way_back(
    section: TrackingSection, client: MlflowClient
) -> None:
    number = client.create_experiment(section.experiment)
    client.delete_experiment(number)
    with pytest.raises(TrackingError, match=f"mlflow experiments restore -x {number}"):
        tracking.start(section, params=PARAMS)


@pytest.mark.parametrize("rank", [0, 1])
def test_lightning_logs_to_this_run_by_epoch_and_does_not_end_it(
    section: TrackingSection, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, rank: int
) -> None:
    import mlflow
    from pytorch_lightning.utilities import rank_zero_only

    # As a trainer leaves it that was one of several.
    monkeypatch.setattr(rank_zero_only, "rank", rank, raising=False)
    before = mlflow.get_tracking_uri()
    with tracking.start(section, params=PARAMS) as run:
        logger = run.lightning_logger()
        logger.log_hyperparams({"layers": "many"})
        logger.log_metrics({"train_loss": 2.0, "epoch": 0}, step=30)
        logger.log_metrics({"train_loss": 1.0, "epoch": 1}, step=60)
        logger.log_metrics({"grad_norm": 5.0}, step=60)
        logger.finalize("success")
        assert client.get_run(run.id).info.status == "RUNNING"
        assert (logger.name, logger.version) == ("lecture", run.id)
    assert len(runs_of(client, section)) == 1
    found = client.get_run(run.id)
    assert set(found.data.metrics) == {"train_loss", "grad_norm"}
    assert "layers" not in found.data.params
    assert [point.step for point in client.get_metric_history(run.id, "train_loss")] == [1, 2]
    assert client.get_metric_history(run.id, "grad_norm")[0].step == 60
    assert mlflow.get_tracking_uri() == before
