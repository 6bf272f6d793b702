"""Networks of timm: our side on a stand-in, and the real ones where timm imports."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from pipeline import bundle, probes
from pipeline.analysis import describe
from pipeline.bundle import FACTS
from pipeline.config import compose
from pipeline.errors import BundleError, LayerError
from pipeline.network import Network, build
from pipeline.schema import (
    AnalyzeSection,
    InitSection,
    ModelSection,
    PredictSection,
    TrainSection,
    VisualizeSection,
)
from pipeline.selection import freeze
from pipeline.stages import analyze, export, visualize
from pipeline.transfer import transfer
from pipeline.types import Bands, Classes
from tests import little
from tests.fake_timm import FETCHED, FakeTimm
from tests.test_train import TRAIN

RGB = Bands(("red", "green", "blue"))


def layers(name: str = "tinynet", **arguments: Any) -> dict[str, Any]:
    return {
        "normalize": {"_target_": "pipeline.layers.Normalize"},
        "backbone": {"_target_": "pipeline.layers.Timm", "name": name, **arguments},
    }


def network(
    spec: dict[str, Any], bands: Bands = little.BANDS, size: int = 28, **options: Any
) -> Network:
    options = {"classes": little.CLASSES, **options}
    return build(spec, bands=bands, tile_size=size, **options)


@pytest.fixture
def timm(monkeypatch: pytest.MonkeyPatch) -> FakeTimm:
    fake = FakeTimm()
    monkeypatch.setitem(sys.modules, "timm", fake)
    return fake


@pytest.mark.parametrize("size", [28, 64])
@pytest.mark.parametrize("count", [4, 13])
def test_bands_and_classes_are_filled_in(timm: FakeTimm, count: int, size: int) -> None:
    made = network(layers(), Bands(tuple(f"b{i}" for i in range(count))), size)
    assert made.get_parameter("backbone.conv1.weight").shape == (8, count, 7, 7)
    assert made.get_parameter("backbone.fc.weight").shape == (3, 8)
    assert made.eval()(torch.zeros(2, count, size, size)).shape == (2, 3)
    assert timm.asked == [{"name": "tinynet", "pretrained": False}]


def test_before_a_linear_layer_it_gives_features(timm: FakeTimm) -> None:
    made = network({**layers(), "fc": {"_target_": "torch.nn.Linear"}})
    assert made.get_parameter("fc.weight").shape == (3, 8)
    assert isinstance(made.get_submodule("backbone.fc"), nn.Identity)


def test_init_leaves_the_weights_that_were_fetched(timm: FakeTimm) -> None:
    spec = {**layers(pretrained=True), "fc": {"_target_": "torch.nn.Linear"}}
    made = network(spec, init=InitSection(name="normal", deviation=5.0))
    assert (made.get_parameter("backbone.conv1.weight") == FETCHED).all()
    assert made.get_parameter("fc.weight").std() > 2


def test_the_option_composes_and_builds(timm: FakeTimm) -> None:
    overrides = ["model=timm", "model.layers.backbone.name=widenet.of_weights"]
    made = network(yaml.safe_load(compose(overrides))["model"]["layers"])
    assert timm.asked[0]["name"] == "widenet.of_weights"
    assert sum(isinstance(module, nn.Conv2d) for module in made.modules()) == 2


def test_a_bundle_is_opened_without_fetching(timm: FakeTimm, tmp_path: Path) -> None:
    made = network(layers(pretrained=True), mean=[5.0] * 4, std=[2.0] * 4).eval()
    params = {"model": {"layers": layers(pretrained=True)}}
    bundle.save(made, data_digest="", params=params, root=tmp_path)
    facts = json.loads((tmp_path / FACTS).read_text())
    facts["layers"]["backbone"]["pretrained"] = True  # as a stranger may have it
    (tmp_path / FACTS).write_text(json.dumps(facts))
    timm.asked.clear()
    opened = bundle.load(tmp_path)
    assert timm.asked == [{"name": "tinynet", "pretrained": False}]
    pixels = torch.randn(3, 4, 28, 28)
    assert torch.equal(opened.network(pixels), made(pixels))
    assert opened.params == params
    again = tmp_path / "again"
    bundle.save(opened.network, data_digest="", params=params, root=again)
    assert (again / bundle.WEIGHTS).read_bytes() == (tmp_path / bundle.WEIGHTS).read_bytes()


@pytest.mark.parametrize(
    "name", ["hf-hub:stranger/model", "hf_hub:a/b", "local-dir:/tmp/x", "../x", "", 3, ["a"]]
)
def test_a_stranger_s_name_reaches_nothing(timm: FakeTimm, tmp_path: Path, name: Any) -> None:
    bundle.save(network(layers()), data_digest="", params={}, root=tmp_path)
    facts = json.loads((tmp_path / FACTS).read_text())
    facts["layers"]["backbone"]["name"] = name
    (tmp_path / FACTS).write_text(json.dumps(facts))
    timm.asked.clear()
    with pytest.raises(BundleError, match=r"Layer 'backbone': expected the name of one of timm's"):
        bundle.load(tmp_path)
    assert timm.asked == []


def test_an_unknown_model_gets_the_nearest_name(timm: FakeTimm) -> None:
    with pytest.raises(LayerError, match=r"'tinynt'\. Did you mean 'tinynet'\?"):
        network(layers("tinynt"))


def test_other_arguments_of_timm_are_out_of_reach(timm: FakeTimm) -> None:
    with pytest.raises(LayerError, match="takes no argument 'checkpoint_path'"):
        network(layers(checkpoint_path="weights.pth"))


def test_weights_that_can_t_be_fetched_are_one_sentence(
    timm: FakeTimm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route\nto host")

    monkeypatch.setattr(timm, "create_model", refuse)
    message = r"timm can't make tinynet: no route to host\. pretrained=false goes without weights"
    with pytest.raises(LayerError, match=message):
        network(layers(pretrained=True))


def test_without_timm_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    message = r"Layer 'backbone': expected timm, which is not installed; run pip install 'quad"
    with pytest.raises(LayerError, match=message):
        network(layers())


def test_a_timm_that_does_not_import_is_told_from_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "timm.py").write_text("raise RuntimeError('operator torchvision::nms is missing')")
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    message = r"does not import: operator torchvision::nms is missing; install the torchvision that"
    with pytest.raises(LayerError, match=message):
        network(layers())


def test_analysis_counts_what_is_inside(timm: FakeTimm) -> None:
    made = network(layers())
    freeze(made, ["backbone.layer1", "backbone.bn1"])
    _, backbone = describe(made)
    assert (backbone.name, backbone.type, backbone.output) == ("backbone", "TinyNet", (3,))
    conv1, block, head = 8 * 4 * 49, 8 * 8 * 9 + 16, 8 * 3 + 3
    assert backbone.parameters == conv1 + 16 + block + head
    assert backbone.learnable == conv1 + head
    # 28 -> 14 -> 7 pixels a side.
    assert backbone.macs == conv1 * 14 * 14 + 8 * 8 * 9 * 7 * 7 + 8 * 3
    assert backbone.field == 28
    assert all(not module._forward_hooks for module in made.modules())


def test_frozen_batch_norms_inside_it_stay_frozen(timm: FakeTimm) -> None:
    made = network(layers())
    freeze(made, ["backbone.layer1.*"])
    before = {key: value.clone() for key, value in made.state_dict().items()}
    made.train()(torch.randn(4, 4, 28, 28))
    after = made.state_dict()
    changed = {key for key, value in before.items() if not torch.equal(after[key], value)}
    assert changed == {
        f"backbone.bn1.{own}" for own in ("running_mean", "running_var", "num_batches_tracked")
    }


def test_its_first_filters_and_what_they_answer_are_seen(timm: FakeTimm) -> None:
    made = network(layers("widenet"))
    assert probes.first_convolution(made) == "backbone.conv1"
    assert probes.filters(made, "backbone.conv1").shape == (64, 4, 7, 7)
    chain = [step.layer for step in probes.chain(made, "backbone.conv1")]
    assert chain == ["backbone.conv1", "backbone.act1", "backbone.maxpool"]
    pixels = np.random.default_rng(0).integers(0, 255, (2, 28, 28, 4))
    heard = probes.activations(made, pixels, [*chain, "backbone.layer1.0.conv1"])
    assert [maps.shape[2] for maps in heard.values()] == [14, 14, 7, 7]
    np.testing.assert_array_equal(heard["backbone.act1"].min(), 0)


def test_bands_move_into_it_by_name_and_classes_into_its_head(timm: FakeTimm) -> None:
    donor = network(layers(), RGB)
    made = network(layers(), classes=Classes(("road", "water")))
    found = transfer(made, donor)
    assert (found.by_band, found.by_class) == (["backbone.conv1"], ["backbone.fc"])
    assert {"backbone.bn1", "backbone.layer1.0.conv1"} < set(found.taken)
    mine = made.get_parameter("backbone.conv1.weight")
    theirs = donor.get_parameter("backbone.conv1.weight") * 3 / 4
    torch.testing.assert_close(mine, torch.cat([theirs, theirs.mean(1, keepdim=True)], 1))
    rows = made.get_parameter("backbone.fc.weight"), donor.get_parameter("backbone.fc.weight")
    assert torch.equal(rows[0][1], rows[1][2])


@pytest.fixture
def project(timm: FakeTimm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    little.project(tmp_path, layers("widenet", pretrained=True))
    monkeypatch.chdir(tmp_path)
    timm.asked.clear()
    return tmp_path


def test_the_stages_look_inside_it(project: Path, timm: FakeTimm) -> None:
    model = ModelSection(name="timm", layers=layers("widenet", pretrained=True))
    options = TrainSection.model_validate(TRAIN | {"freeze": ["backbone.layer1.*"]})
    analyze.run(AnalyzeSection(batch_size=8, strict=False), model, InitSection(name="he"), options)
    assert "TinyNet" in Path("reports/network/network.md").read_text()
    source = Path("reports/network/network.py").read_text()
    call = 'timm.create_model("widenet", pretrained=False, in_chans=4, num_classes=3)'
    assert "import timm\n" in source
    assert call in source
    look = VisualizeSection(
        layers=["backbone.conv1"],
        filters=[11],
        tiles=[0],
        kernel_band=None,
        batch_size=16,
        **little.LOOK,
    )
    none = PredictSection(scenes={}, stride=None, batch_size=8)
    visualize.run(look, none, little.ENGINE, little.UNTRACKED)
    with np.load("reports/visualize/filters.npz") as arrays:
        assert arrays["backbone.conv1"].shape == (64, 4, 7, 7)
    with np.load("reports/visualize/activations.npz") as arrays:
        assert arrays["backbone.act1"].shape == (1, 64, 6, 6)
    for name in ("filters_backbone.conv1_false.png", "filters_backbone.conv1_channels.png",
                 "activations_backbone.conv1_0.png"):  # fmt: skip
        assert (project / "reports/visualize" / name).stat().st_size > 0
    export.to_onnx(bundle.load().network, project / "model.onnx")
    assert (project / "model.onnx").stat().st_size > 0
    assert not any(asked["pretrained"] for asked in timm.asked)


@pytest.fixture
def real_timm() -> Any:
    try:
        import timm
    except Exception as error:
        pytest.skip(f"timm does not import here: {' '.join(str(error).split())[:80]}")
    return timm


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "mobilenetv3_small_050"])
def test_real_models_build_learn_and_come_back(real_timm: Any, name: str, tmp_path: Path) -> None:
    made = network(layers(name), size=64, mean=[5.0] * 4, std=[2.0] * 4)
    torch.autograd.backward(made(torch.randn(4, 4, 64, 64)).square().mean())
    bundle.save(made.eval(), data_digest="", params={}, root=tmp_path)
    opened = bundle.load(tmp_path).network
    pixels = torch.randn(2, 4, 64, 64)
    assert torch.equal(opened(pixels), made(pixels))
    _, info = describe(made)
    assert info.parameters == sum(parameter.numel() for parameter in made.parameters())
    assert info.macs > info.parameters > 100_000
    first = probes.first_convolution(made)
    assert first is not None
    assert first.startswith("backbone.")
    assert probes.activations(made, np.zeros((1, 64, 64, 4)), [first])[first].shape[0] == 1


def test_the_filters_of_a_real_one_are_seven_by_seven(real_timm: Any) -> None:
    donor, made = (network(layers("resnet18"), bands, 64) for bands in (RGB, little.BANDS))
    assert probes.filters(donor, "backbone.conv1").shape == (64, 3, 7, 7)
    chain = [step.layer for step in probes.chain(made, "backbone.conv1")]
    assert chain == ["backbone.conv1", "backbone.act1", "backbone.maxpool"]
    found = transfer(made, donor)
    assert found.by_band == ["backbone.conv1"]
    assert found.fresh == {}
    assert freeze(made, ["backbone.layer[123].*"])
