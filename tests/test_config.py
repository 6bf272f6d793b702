from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipeline.config import compose, flatten, load, validate
from pipeline.config_difference import overrides_of
from pipeline.config_messages import CONF, groups, options_of
from pipeline.errors import ConfigError

# Options that can't be composed without a value that only the user knows.
NEEDS = {
    ("source", "folders"): ["source.root=/data"],
    ("source", "scenes"): ["source.root=/data", "source.classes={water: 1, land: 2}"],
    ("source", "sat"): ["source.path=sat-6-full.mat"],
    ("loss", "squared_error"): ["model=autoencoder"],
}
OPTIONS = [(group, option) for group in groups() for option in options_of(group)]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_fits_the_schema(group: str, option: str) -> None:
    text = compose([f"{group}={option}", *NEEDS.get((group, option), [])])
    params = validate(yaml.safe_load(text))
    assert params.tiles.size > 0


def test_every_group_of_the_defaults_list_has_a_folder_and_the_other_way_round() -> None:
    folders = {path.name for path in CONF.iterdir() if path.is_dir()}
    assert folders == {*groups(), "hydra_plugins"}


def test_params_yaml_is_what_conf_composes_to(root: Path) -> None:
    assert (root / "params.yaml").read_text(encoding="utf-8") == compose()


def test_an_override_reaches_its_key_and_no_other() -> None:
    plain, changed = flatten(yaml.safe_load(compose())), flatten(
        yaml.safe_load(compose(["optimizer.lr=0.5"]))
    )  # fmt: skip
    assert {k for k in plain if plain[k] != changed[k]} == {"optimizer.lr"}
    assert changed["optimizer.lr"] == 0.5


@pytest.mark.parametrize("given", ["32", "'32'", "bf16"])
def test_a_precision_needs_no_quotes(given: str) -> None:
    params = validate(yaml.safe_load(compose([f"engine.precision={given}"])))
    assert params.engine.precision == given.strip("'")


def test_a_layer_can_be_changed_and_left_out_by_name() -> None:
    layers = yaml.safe_load(
        compose(["model=lecture", "model.layers.conv.out_channels=33", "~model.layers.pool"])
    )["model"]["layers"]
    assert layers["conv"]["out_channels"] == 33
    assert "pool" not in layers
    assert list(layers)[:2] == ["normalize", "conv"]


def test_scenes_to_predict_can_be_replaced() -> None:
    given = yaml.safe_load(compose(["predict.scenes={county: /data/county.tif}"]))
    assert given["predict"]["scenes"]["county"] == "/data/county.tif"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimizer.lrr=1", ["optimizer.lrr", "overrides", "Did you mean optimizer.lr?"]),
        ("optimzer.lr=1", ["optimzer.lr", "Did you mean optimizer.lr?"]),
        ("optimizer.lr=abc", ["optimizer.lr", "'abc'", "overrides", "number"]),
        ("optimizer.lr=-1", ["optimizer.lr", "-1", "greater than 0"]),
        ("train.epochs=2.5", ["train.epochs", "2.5", "integer"]),
        ("model=vggg", ["'vggg'", "model", "overrides", "lecture", "Did you mean vgg?"]),
        ("modle=vgg", ["modle", "Did you mean model?"]),
        ("+optimizer.speed=1", ["optimizer.speed", "Known keys", "optimizer.lr"]),
        ("model.layers.conv1_1.out_chanels=9", ["Did you mean model.layers.conv1_1.out_channels?"]),
        ("train={epoks: 1}", ["train.epoks", "Did you mean train.epochs?"]),
        ("source.classes=[a]", ["source.classes", "[a]", "overrides"]),
        ("experiment=slow", ["'slow'", "experiment", "quick"]),
        ("split.seed=-1", ["split.seed", "-1", "greater than or equal to 0"]),
        ("split.train=0.9", ["split", "add up to 1"]),
        ("split.method=magic", ["split.method", "'magic'", "'block'"]),
        ("optimizer.name=adagrad", ["optimizer.name", "'adagrad'", "'sgd'"]),
        ("source=folders", ["source.root", "conf/source/folders.yaml", "Add source.root="]),
        ("tiles.size", ["group=option", "tiles.size"]),
    ],
)
def test_a_mistake_is_one_sentence_with_key_place_and_what_would_fit(
    override: str, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_mistake_in_params_yaml_names_that_file(tmp_path: Path) -> None:
    content = yaml.safe_load(compose())
    content["train"]["epoks"] = 3
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ConfigError, match=r"train\.epoks in .*params\.yaml.*train\.epochs"):
        load(path)


@pytest.mark.parametrize(
    ("text", "words"), [("a: [", "YAML"), ("- 1", "sections"), ("", "sections")]
)
def test_a_torn_params_yaml_is_said(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load(path)


def test_a_missing_params_yaml_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="python -m pipeline compose"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["optimizer.lr=0.5"],
        ["activation=tanh"],
        ["model=lecture", "optimizer=sgd", "optimizer.lr=0.5"],
        ["split=block", "split.block_size=100.0"],
        ["source=sat", "source.path=/data/sat-6-full.mat"],
        ["optimizer=sgd", "optimizer.factors={backbone.*: 0.1, fc: 2.0}"],
        ["train.init_from=/data/donor", "train.freeze=[conv1*,block2.*]"],
        ["model=autoencoder", "train.epochs=3", "tracking=none"],
    ],
)
def test_params_yaml_tells_which_overrides_led_to_it(overrides: list[str]) -> None:
    content = yaml.safe_load(compose(overrides))
    found = overrides_of(content)
    assert yaml.safe_load(compose(found)) == content
    assert len(found) <= len(overrides) + 1


def test_what_an_option_brings_along_is_not_told_beside_it() -> None:
    given = [
        "source.min_purity=0.5", "tiles.size=32", "model=autoencoder", "optimizer.lr=0.5",
        "train.epochs=3", "train.min_steps=9", "train.seed=2", "analyze.batch_size=1",
        "evaluate.batch_size=1", "tracking=none",
    ]  # fmt: skip
    assert sorted(overrides_of(yaml.safe_load(compose(given)))) == sorted(given)
