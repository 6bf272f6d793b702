"""Donors: what moves by layer, band and class, and training that starts from one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline import bundle, tracking
from pipeline.bundle import FACTS, WEIGHTS, Bundle
from pipeline.config import NEVER_CHANGES, compose, read
from pipeline.errors import BundleError, ConfigError, TrackingError
from pipeline.network import Network, build
from pipeline.schema import InitSection, TrackingSection
from pipeline.stages import train
from pipeline.store import Store
from pipeline.transfer import transfer
from pipeline.types import Bands, Classes
from tests import little
from tests.test_train import run_script, sections

RGB = Bands(("red", "green", "blue"))
CONV: dict[str, Any] = {"_target_": "torch.nn.Conv2d", "out_channels": 3, "kernel_size": 3}
END = ("flatten", "head")
DECODER: dict[str, Any] = {
    **{name: little.LAYERS[name] for name in ("normalize", "conv1", "relu1")},
    "head": {"_target_": "torch.nn.ConvTranspose2d", "kernel_size": 3},
}


def network(
    layers: dict[str, Any] = little.LAYERS,
    bands: Bands = little.BANDS,
    classes: Classes = little.CLASSES,
    seed: int = 1,
    **options: Any,
) -> Network:
    return build(layers, bands=bands, classes=classes, tile_size=12, seed=seed, **options)


def equal(one: Network, other: Network, layer: str) -> bool:
    pairs = [
        (value, other.state_dict().get(key))
        for key, value in one.state_dict().items()
        if key.startswith(f"{layer}.")
    ]
    assert pairs, layer
    return all(theirs is not None and torch.equal(mine, theirs) for mine, theirs in pairs)


def test_layers_of_one_name_and_shape_are_taken_and_the_rest_is_named() -> None:
    donor, plain = network(seed=5), network()
    layers = {**little.LAYERS, "conv2": {**little.LAYERS["conv2"], "out_channels": 6}}
    layers["extra"] = {**CONV, "out_channels": 6}
    layers = {name: layers[name] for name in (*list(little.LAYERS)[:5], "extra", "flatten", "head")}
    made, fresh = network(layers), network(layers)
    found = transfer(made, donor)
    assert found.taken == ["conv1"]
    assert found.fresh == {
        "conv2": "6 x 5 x 3 x 3, the donor's 4 x 5 x 3 x 3",
        "extra": "not in the donor",
        "head": "3 x 6, the donor's 3 x 36",
    }
    assert equal(made, donor, "conv1")
    assert not equal(plain, donor, "conv1")
    assert all(equal(made, fresh, name) for name in ("conv2", "extra", "head"))
    assert found.lines() == [
        "1 of 4 layers with weights start from the donor.",
        "Drawn anew: conv2 (6 x 5 x 3 x 3, the donor's 4 x 5 x 3 x 3), extra (not in the donor), "
        "head (3 x 6, the donor's 3 x 36).",
    ]


def test_a_layer_is_taken_whole_or_not_at_all() -> None:
    bare = {**little.LAYERS, "conv1": {**little.LAYERS["conv1"], "bias": False}}
    made, donor = network(), network(bare, seed=5)
    found = transfer(made, donor)
    assert found.fresh == {"conv1": "has weight, bias, the donor's weight"}
    assert equal(made, network(), "conv1")
    assert equal(made, donor, "conv2")


def test_statistics_are_those_of_the_new_data() -> None:
    donor = network(mean=[1.0] * 4, std=[2.0] * 4)
    made = network(mean=[10, 20, 30, 40], std=[5.0] * 4)
    found = transfer(made, donor)
    assert made.get_buffer("normalize.mean").tolist() == [10, 20, 30, 40]
    assert "normalize" not in [*found.taken, *found.fresh]


def test_batch_norms_in_the_body_bring_their_statistics() -> None:
    norm = {"_target_": "torch.nn.BatchNorm2d"}
    layers = {"conv1": CONV, "norm1": norm, **{name: little.LAYERS[name] for name in END}}
    donor, made = network(layers, seed=5), network(layers)
    donor(torch.randn(4, 4, 12, 12))
    transfer(made, donor)
    assert equal(made, donor, "norm1")
    assert made.get_buffer("norm1.num_batches_tracked") == 1


@pytest.mark.parametrize("choice", ["by_name", "mean", "random"])
def test_the_first_layer_starts_as_init_bands_says(choice: Any) -> None:
    donor, made = network(bands=RGB, seed=5), network()
    found = transfer(made, donor, choice)
    theirs, mine = (n.get_parameter("conv1.weight") for n in (donor, made))
    mean = theirs.mean(dim=1) * 3 / 4
    torch.testing.assert_close(
        mine,
        {
            "by_name": torch.cat([theirs * 3 / 4, mean[:, None]], dim=1),
            "mean": torch.stack([mean] * 4, dim=1),
            "random": network().get_parameter("conv1.weight"),
        }[choice],
    )
    assert equal(made, donor, "conv2")
    if choice == "random":
        assert found.fresh == {"conv1": "init_bands=random"}
        return
    assert torch.equal(donor.get_parameter("conv1.bias"), made.get_parameter("conv1.bias"))
    assert (found.by_band, found.new_bands, found.fresh) == (["conv1"], ["nir"], {})
    assert (
        found.lines()[1]
        == {
            "by_name": "Started by the names of the donor's bands: conv1; new to the donor: nir.",
            "mean": "Started from the mean of the donor's bands: conv1; new to the donor: nir.",
        }[choice]
    )


def test_the_same_bands_in_another_order_give_the_same_answers() -> None:
    turned = Bands(tuple(reversed(little.BANDS.names)))
    donor, made = network(seed=5).eval(), network(bands=turned).eval()
    assert transfer(made, donor).new_bands == []
    pixels = torch.randn(3, 4, 12, 12)
    torch.testing.assert_close(made(pixels.flip(1)), donor(pixels))


def test_classes_of_one_name_move_their_rows_and_others_are_drawn() -> None:
    donor = network(seed=5)
    classes = Classes(("water", "road", "building"))
    made, fresh = network(classes=classes), network(classes=classes)
    found = transfer(made, donor)
    for key in ("head.weight", "head.bias"):
        mine, theirs, drawn = (n.get_parameter(key) for n in (made, donor, fresh))
        assert torch.equal(mine[0], theirs[2])
        assert torch.equal(mine[1], drawn[1])
        assert torch.equal(mine[2], theirs[0])
    assert (found.by_class, found.new_classes) == (["head"], ["road"])
    said = "Started by the names of the donor's classes: head; new to the donor: road."
    assert found.lines()[1] == said


def test_a_layer_that_is_both_first_and_last_moves_by_band_and_by_class() -> None:
    donor = network(little.MLP, bands=RGB, seed=5)
    made = network(little.MLP, classes=Classes(("road", "water")))
    found = transfer(made, donor)
    mine = made.get_parameter("head.weight")[1].reshape(4, 144)
    theirs = donor.get_parameter("head.weight")[2].reshape(3, 144) * 3 / 4
    torch.testing.assert_close(mine, torch.cat([theirs, theirs.mean(dim=0, keepdim=True)]))
    assert found.by_band == found.by_class == ["head"]


def test_a_head_without_a_class_of_the_donor_s_is_drawn_anew() -> None:
    classes = Classes(("road", "rail"))
    made = network(classes=classes)
    found = transfer(made, network(seed=5))
    assert found.fresh == {"head": "no class of the donor's, building, trees, water"}
    assert equal(made, network(classes=classes), "head")


def test_an_autoencoder_gives_its_encoder() -> None:
    donor = network(DECODER, seed=5, task="reconstruct")
    made = network()
    found = transfer(made, donor)
    assert equal(made, donor, "conv1")
    assert found.taken == ["conv1"]
    assert found.fresh["head"] == "the donor was trained to reconstruct"


def test_an_autoencoder_of_other_bands_draws_the_layer_that_gives_them() -> None:
    donor = network(DECODER, bands=RGB, seed=5, task="reconstruct")
    found = transfer(network(DECODER, task="reconstruct"), donor)
    assert found.by_band == ["conv1"]
    assert found.fresh == {"head": "the donor reconstructs red, green, blue"}


def test_an_autoencoder_knows_no_classes() -> None:
    donor = network(DECODER, classes=Classes(("x", "y")), seed=5, task="reconstruct")
    made = network(DECODER, task="reconstruct")
    assert transfer(made, donor).taken == ["conv1", "head"]
    assert equal(made, donor, "head")


def test_a_layer_that_is_the_head_of_one_network_alone_is_drawn_anew() -> None:
    linear = {"_target_": "torch.nn.Linear"}
    longer = {**little.LAYERS, "head": {**linear, "out_features": 3}, "last": linear}
    found = transfer(network(longer), network(seed=5))
    assert found.fresh == {
        "head": "outputs come from last, the donor's from head",
        "last": "not in the donor",
    }


def test_nothing_in_common_says_what_there_is() -> None:
    layers = {"first": CONV, "flat": little.LAYERS["flatten"], "fc": little.LAYERS["head"]}
    message = r"it has first 3 x 4 x 3 x 3, fc 3 x 300; this network has normalize 4, conv1"
    with pytest.raises(BundleError, match=message):
        transfer(network(), network(layers))


def test_a_long_list_of_fresh_layers_is_cut() -> None:
    layers = {f"c{i}": {**CONV, "padding": 1} for i in range(11)}
    tail = {name: little.LAYERS[name] for name in END}
    first = {"conv1": {**CONV, "padding": 1}}
    found = transfer(network({**first, **layers, **tail}), network({**first, **tail}))
    assert found.lines()[-1].endswith("c7 (not in the donor) and 3 more.")


# Training that starts from a donor.


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    little.project(tmp_path)
    (tmp_path / "models").rename(tmp_path / "donor")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def donor_of(place: Path) -> Bundle:
    return bundle.load(place / "donor")


def test_training_starts_from_a_bundle_and_keeps_what_is_frozen(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    donor = donor_of(place)
    train.run(**sections(train={"init_from": "donor", "freeze": ["conv*"], "average": 0.9}))
    kept = bundle.load()
    for layer in ("conv1", "conv2"):
        assert equal(kept.network, donor.network, layer)
    assert not equal(kept.network, donor.network, "head")
    assert kept.params["donor"]["digest"] == donor.digest
    assert kept.params["donor"]["taken"] == ["conv1", "conv2", "head"]
    printed = capsys.readouterr().out
    assert f"Donor donor ({donor.digest[:12]}):\n3 of 3 layers with weights start from" in printed
    assert "Frozen: conv1, conv2.\n" in printed


def test_a_first_epoch_from_a_donor_beats_one_from_scratch(place: Path) -> None:
    losses = []
    for init_from in (None, "donor"):
        train.run(**sections(train={"init_from": init_from, "epochs": 1}, optimizer={"lr": 1e-5}))
        found = bundle.load().probabilities(Store.open().pixels("validation"), batch_size=64)
        labels = Store.open().labels("validation")
        losses.append(-np.log(found[np.arange(len(labels)), labels]).mean())
    assert losses[1] < 0.7 * losses[0]


def test_two_processes_train_a_frozen_network_as_one_does(place: Path) -> None:
    options: dict[str, Any] = {
        "augment": {"flips": False, "quarter_turns": False, "noise": 0},
        "layers": {**little.LAYERS, "relu1": {"_target_": "torch.nn.BatchNorm2d"}},
    }
    frozen = {"init_from": "donor", "freeze": ["conv1", "relu1"], "init_bands": "mean"}
    two = run_script(
        place,
        train={"batch_size": 8, **frozen},
        trainer={"strategy": "ddp", "devices": 2},
        **options,
    )
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("Donor donor") == two.stdout.count("Frozen: conv1, relu1.") == 1
    both = bundle.load().network
    train.run(**sections(train={"batch_size": 16, **frozen}, **options))
    for key, value in bundle.load().network.state_dict().items():
        torch.testing.assert_close(both.state_dict()[key], value, rtol=1e-2, atol=1e-4)
    for key in ("conv1.weight", "relu1.running_mean", "relu1.num_batches_tracked"):
        assert torch.equal(both.state_dict()[key], bundle.load().network.state_dict()[key])
    assert both.get_buffer("relu1.num_batches_tracked") == 0


@pytest.mark.parametrize("missing", [WEIGHTS, FACTS])
def test_a_donor_that_is_no_bundle_is_one_sentence(place: Path, missing: str) -> None:
    (place / "donor" / missing).unlink()
    # A pickle beside it is not looked at.
    (place / "donor" / "model.ckpt").write_bytes(b"not a checkpoint")
    message = rf"model\.safetensors and model\.json, in train\.init_from=donor\. .*{missing}"
    with pytest.raises(BundleError, match=message):
        train.run(**sections(train={"init_from": "donor"}))


def test_a_donor_of_forbidden_layers_runs_nothing(place: Path) -> None:
    path = place / "donor" / FACTS
    facts = json.loads(path.read_text())
    facts["layers"]["conv1"] = {"_target_": "os.system", "command": "touch harm"}
    path.write_text(json.dumps(facts))
    with pytest.raises(BundleError, match=r"got 'os\.system'"):
        train.run(**sections(train={"init_from": "donor"}))
    assert not (place / "harm").exists()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TrackingSection:
    uri = f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
    return TrackingSection(enabled=True, experiment="donors", uri=uri)


def test_a_run_of_mlflow_is_a_donor(place: Path, store: TrackingSection) -> None:
    from pipeline.tracking.client import connect

    assert store.uri is not None
    donor = donor_of(place)
    with tracking.start(store, params={"model": {"name": "little"}}) as run:
        run.artifact(place / "donor", "model")
    client, _ = connect(store.uri, store.experiment)
    addresses = [f"runs:/{run.id}/model"]
    client.create_registered_model("little")
    source = f"{client.get_run(run.id).info.artifact_uri}/model"
    addresses.append(f"models:/little/{client.create_model_version('little', source).version}")
    for address in addresses:
        options = sections(train={"init_from": address, "freeze": ["conv1"], "epochs": 1})
        train.run(**options | {"tracking": store})
        kept = bundle.load()
        assert equal(kept.network, donor.network, "conv1")
        found = tracking.find(store, kept.digest)
        assert client.get_run(found.id).data.tags["donor"] == donor.digest


def test_an_address_without_a_model_is_one_sentence(place: Path, store: TrackingSection) -> None:
    with tracking.start(store, params={"model": {"name": "little"}}) as run:
        pass
    for address in (f"runs:/{run.id}/model", f"runs:/{'0' * 32}/model", "models:/nothing/1"):
        options = sections(train={"init_from": address}) | {"tracking": store}
        with pytest.raises(TrackingError, match=rf"Expected .* at {address} in sqlite"):
            train.run(**options)


# What DVC knows of a donor.


def train_section(*overrides: str) -> dict[str, Any]:
    import yaml

    section: dict[str, Any] = yaml.safe_load(compose(overrides))["train"]
    return section


@pytest.mark.parametrize("kind", ["scratch", "folder", "run", "model"])
def test_dvc_watches_a_folder_and_else_a_file_that_is_there(kind: str, root: Path) -> None:
    given = {"folder": "/data/donor", "run": "runs:/abc/model", "model": "models:/little/1"}
    address = given.get(kind)
    section = train_section(*([f"train.init_from={address}"] if address else []))
    assert section["init_from"] == address
    assert section["donor"] == (address if kind == "folder" else NEVER_CHANGES)
    assert (root / NEVER_CHANGES).is_file()
    assert "${train.donor}" in (root / "dvc.yaml").read_text()
    assert read(root / "params.yaml")["train"]["donor"] == NEVER_CHANGES


@pytest.mark.parametrize("path", ["models", "models/export", "./models/"])
def test_what_train_writes_is_no_donor(path: str) -> None:
    with pytest.raises(ConfigError, match=r"train\.init_from.*expected a donor outside models/"):
        compose([f"train.init_from={path}"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.init_bands=name", r"train\.init_bands, got 'name'.*'by_name', 'mean' or 'random'"),
        ("train.freeze=conv1", r"train\.freeze, got conv1|train\.freeze"),
        ("optimizer.factors={conv1: 0}", r"optimizer\.factors\.conv1, got 0.*greater than 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose([override])


def test_init_draws_what_the_donor_lacks() -> None:
    init = InitSection(name="normal", deviation=0.5)
    made, drawn = network(init=init), network(init=init)
    transfer(made, network({"conv1": little.LAYERS["conv1"], **little.MLP}, seed=5))
    assert equal(made, drawn, "conv2")
    assert not equal(made, drawn, "conv1")
