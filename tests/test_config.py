from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import __main__ as command
from pipeline.config import absent, compose, composition, flatten, load, validate
from pipeline.config_difference import overrides_of, shown
from pipeline.config_messages import CONF, groups, options_of
from pipeline.errors import ConfigError, LayerError

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


def test_tiles_to_measure_on_are_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"Expected split\.test above 0.*got 0; split=random"):
        compose(["source=sat", "source.path=/sat-6-full.mat", "split.method=random"])


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
        ("model.nope=1", ["model.nope", "Known keys: model.name, model.layers."]),
        ("model.layers.xyzzy=1", ["model.layers.conv1_1, ", " and 1 more.", "+model.layers.xy"]),
        ("train={epoks: 1}", ["train.epoks", "Did you mean train.epochs?"]),
        ("source.classes=[a]", ["source.classes", "[a]", "overrides"]),
        ("experiment=slow", ["'slow'", "experiment", "quick"]),
        ("split.seed=-1", ["split.seed", "-1", "greater than or equal to 0"]),
        ("split.train=0.9", ["split", "add up to 1"]),
        ("split.method=magic", ["split.method", "'magic'", "'block'"]),
        ("optimizer.name=adagrad", ["optimizer.name", "'adagrad'", "'sgd'"]),
        ("source=folders", ["source.root", "conf/source/folders.yaml", "Add source.root="]),
        ("source=sat", ["source.path", "conf/source/sat.yaml", "Add source.path="]),
        ("tiles.size", ["group=option", "tiles.size"]),
        ("source.root=~/x", ["group=option", "source.root=~/x", "Write the path out"]),
        ("model=null", ["option of model", "null", "overrides", "lecture"]),
        ("source.bands={red: 1, green: 0}", ["source.bands.green", "0", "greater than or equal"]),
        ("source.bands=5", ["source.bands", "5", "valid list or a valid dictionary"]),
        ("loss.class_weights={road: -1}", ["loss.class_weights.road", "-1", "greater than"]),
        ("loss.class_weights={roads: 1}", ["loss.class_weights", "'roads'", "road, water"]),
        ("model.layers.act1_1._target_=torch.nn.Tanh", ["Give it whole: model.layers.act1_1={"]),
        ("train.seed=99999999999999999999", ["train.seed", "less than 9223372036854775808"]),
        ("engine.precision=16", ["engine.precision", "'32'"]),
        ("train.member_models=[lenet,vgf]", ["'vgf'", "train.member_models", "Did you mean vgg?"]),
        ("train.member_models=lenet", ["train.member_models", "'lenet'", "valid list"]),
        (
            "train.member_models=[lenet]",
            ["train.members above 1 with train.member_models", "got 1"],
        ),
        (
            "train={members: 2, member_models: [lenet, lecture, vgg]}",
            ["train.members of 3 or more", "(lenet, lecture, vgg)", "got 2"],
        ),
        ("train.sampling={road: inf}", ["train.sampling.road", "inf", "a finite number"]),
        ("augment.noise=inf", ["augment.noise", "inf", "overrides", "a finite number"]),
        ("optimizer.lr=nan", ["optimizer.lr", "nan", "a finite number"]),
        ("train.bootstrap=true", ["train.members above 1 with train.bootstrap", "got 1"]),
        ("train.member_models=[vgg,autoencoder]", ["members that classify", "member autoencoder"]),
        ("evaluate.vote=loud", ["evaluate.vote", "'loud'", "'soft'"]),
        ("predict.scenes={a/b: /x.tif}", ["predict.scenes", "'a/b'", "slashes"]),
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
        ["train.members=4", "train.member_models=[lenet,vgg]", "activation=gelu"],
        ["model=autoencoder", "train.epochs=3", "tracking=none"],
    ],
)
def test_params_yaml_tells_which_overrides_led_to_it(overrides: list[str]) -> None:
    content = yaml.safe_load(compose(overrides))
    found = overrides_of(content)
    assert yaml.safe_load(compose(found)) == content
    assert len(found) <= len(overrides) + 1


@pytest.mark.parametrize(
    "overrides",
    [
        ["source.bands={red: 4, green: 3, blue: 2, nir: 8}"],
        ["bands=[red,nir]"],
        ["predict.scenes={county: /data/county.tif, b c: '/x, y.tif'}"],
        ["predict.scenes={}"],
        ["~model.layers.pool1"],
        ["+model.layers.extra={_target_: torch.nn.ReLU}"],
        ["+model.layers.conv1_1.dilation=2"],
        ["model=googlenet", "model.layers.inception3a.three=null"],
        ["model.layers.act1_1={_target_: torch.nn.Tanh}"],
        ["activation._target_=torch.nn.Mish"],
        ["~source.classes", "+source.classes={barren land: 1, water: 2}"],
        ["~source.classes.road"],
        ["loss.class_weights={road: 2.0, water: 1}"],
        ["source=scenes", "source.root=/a b/c", "source.classes={water: w, land: '1'}",
         'source.labels="{stem} it\'s.tif"', "source.attribute='null'"],
        ["tracking.uri='http://a:5000/?x=1,2'", "tracking.experiment='1e3'"],
        [r"tracking.experiment=' a\\'"],
    ],
)  # fmt: skip
def test_overrides_can_be_typed_back(overrides: list[str]) -> None:
    content = yaml.safe_load(compose(overrides))
    typed = shlex.split(shlex.join(overrides_of(content)))
    again = yaml.safe_load(compose(typed))
    assert again == content
    assert list(again["model"]["layers"]) == list(content["model"]["layers"])
    assert len(typed) <= len(overrides) + 1


TEXT = st.text(st.characters(exclude_characters="$", exclude_categories=["C"])) | (
    st.sampled_from(["null", "true", "1", "1e3", "nan", "a,b", "{x}", "[y]", "~", "", " a ", "a=b"])
)
KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_ *.,:=]*", fullmatch=True)  # more takes no escape
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    max_leaves=6,
)


@given(VALUES)
@settings(deadline=None, max_examples=200)
def test_a_value_is_shown_as_hydra_reads_it(value: object) -> None:
    read = OverridesParser.create().parse_override(f"a.b={shown(value)}")
    assert not read.is_sweep_override()
    assert unquoted(read.value()) == value


def unquoted(value: object) -> object:
    """Plain values of what Hydra's parser gives."""
    if isinstance(value, dict):
        return {unquoted(key): unquoted(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [unquoted(inner) for inner in value]
    return value.text if isinstance(value, QuotedString) else value


OPTIMIZER = "name: adam\nlr: 0.1\nbetas: [0.9, 0.999]\nweight_decay: 0.0\n"


@pytest.fixture
def own_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ that a test may write into."""
    shutil.copytree(CONF, tmp_path / "conf")
    for module in ("config", "config_messages"):
        monkeypatch.setattr(f"pipeline.{module}.CONF", tmp_path / "conf")
    return tmp_path / "conf"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OPTIMIZER.replace("lr:", "lrr:"),
         "Unknown key optimizer.lrr in conf/optimizer/mine.yaml. Did you mean optimizer.lr?"),
        (OPTIMIZER.replace("lr: 0.1\n", ""),
         "Expected a value for optimizer.lr, found none in conf/optimizer/mine.yaml."),
        (OPTIMIZER.replace("0.1", "-1"),
         "optimizer.lr, got -1 in conf/optimizer/mine.yaml: input should be greater than 0."),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_of_one_s_own_names_key_and_file(
    own_conf: Path, text: str, message: str
) -> None:
    (own_conf / "optimizer" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        compose(["optimizer=mine"])
    assert str(caught.value) == message
    top = own_conf / "config.yaml"  # chosen there, where the message can't see it
    top.write_text(top.read_text().replace("optimizer: adamw", "optimizer: mine"))
    with pytest.raises(ConfigError) as caught:
        compose()
    assert str(caught.value) == message


def test_a_mistake_in_an_experiment_names_its_file(own_conf: Path) -> None:
    file = own_conf / "experiment" / "mine.yaml"
    file.write_text("# @package _global_\ntrain: {epochz: 3}\n")
    with pytest.raises(ConfigError, match=r"train\.epochz in conf/experiment/mine\.yaml"):
        compose(["experiment=mine"])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("train/default.yaml", "Expected YAML in conf/, got "),
        ("config.yaml", "Expected conf/config.yaml, found none. Bring conf/ back"),
    ],
)
def test_params_that_were_composed_run_while_conf_is_broken(
    own_conf: Path, broken: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = yaml.safe_load(compose(["train.epochs=3"]))
    composition.cache_clear()
    if broken == "config.yaml":
        shutil.rmtree(own_conf)
    else:
        with (own_conf / broken).open("a") as file:
            file.write(": [\n")
    with pytest.raises(ConfigError, match=message):
        compose()
    assert command._say_difference(content, exactly=True) == []
    said = capsys.readouterr()
    assert f"{message}" in said.out + said.err
    assert "What runs is params.yaml as it stands." in said.out + said.err
    composition.cache_clear()


def test_imagery_that_is_not_here_is_told_by_key(tmp_path: Path) -> None:
    def sentence(*overrides: str) -> str | None:
        return absent(yaml.safe_load(compose(overrides)))

    assert sentence() is None  # the sample is made
    assert "source.path=/no.mat" in str(sentence("source=sat", "source.path=/no.mat"))
    assert "predict.scenes.x=/no.tif" in str(sentence("predict.scenes={x: /no.tif}"))
    assert sentence("source=folders", f"source.root={tmp_path}") is None


def test_other_files_that_a_stage_needs_and_are_not_here_are_told_by_key(tmp_path: Path) -> None:
    def sentence(*overrides: str) -> str | None:
        return absent(yaml.safe_load(compose(overrides)))

    for key, what in (("source.exclude", "a CSV file with the ids"), ("train.init_from", "bundle")):
        told = str(sentence(f"{key}=/missing/x"))
        assert f"{key}=/missing/x" in told
        assert what in told
        assert sentence(f"{key}={tmp_path}") is None
    assert sentence("source.exclude=[a,b]") is None
    assert sentence("train.init_from=models:/vgg/1") is None


def test_layers_are_checked_before_anything_runs() -> None:
    with pytest.raises(LayerError, match=r"'conv': Conv2d takes no argument 'out_chanels'"):
        compose(["model=lecture", "+model.layers.conv.out_chanels=33"])
    with pytest.raises(LayerError, match=r"'block2a\.conv1': Expected a layer of torch\.nn"):
        compose(["model=resnet", "model.layers.block2a.conv1._target_=torch.nn.Conv2dd"])


def test_layers_that_were_checked_cost_no_import_of_torch(root: Path) -> None:
    program = (
        "import sys; from pipeline.config import compose; compose(['optimizer.lr=0.5']); "
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=root, check=True)


def test_what_an_option_brings_along_is_not_told_beside_it() -> None:
    given = [
        "source.min_purity=0.5", "tiles.size=32", "model=autoencoder", "optimizer.lr=0.5",
        "train.epochs=3", "train.min_steps=9", "train.seed=2", "analyze.batch_size=1",
        "evaluate.batch_size=1", "tracking=none",
    ]  # fmt: skip
    assert sorted(overrides_of(yaml.safe_load(compose(given)))) == sorted(given)


def test_models_of_members_are_composed_as_they_would_be_alone(own_conf: Path) -> None:
    mine = "defaults: [lenet, _self_]\nname: mine\nlayers: {act1: {_target_: torch.nn.Tanh}}\n"
    (own_conf / "model" / "mine.yaml").write_text(mine)
    composition.cache_clear()
    content = yaml.safe_load(compose(["train.member_models=[mine,vgg]", "activation=gelu"]))
    members = content["train"]["member_networks"]
    assert list(members) == ["mine", "vgg"]
    for name in members:
        alone = yaml.safe_load(compose([f"model={name}", "activation=gelu"]))["model"]
        assert members[name] == alone
        assert list(members[name]["layers"]) == list(alone["layers"])
    assert members["mine"]["layers"]["act1"] == {"_target_": "torch.nn.Tanh"}
    assert members["mine"]["layers"]["act2"] == {"_target_": "torch.nn.GELU"}
    assert content["model"]["name"] == "vgg"
    composition.cache_clear()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: mine\nlayers: {fc: {_target_: torch.nn.Linearr}}\n", "In the member mine: .*'fc'"),
        ("name: mine\n", r"train\.member_networks\.mine\.layers.*conf/model/mine\.yaml"),
    ],
)
def test_a_mistake_in_the_model_of_a_member_names_it(
    own_conf: Path, text: str, message: str
) -> None:
    (own_conf / "model" / "mine.yaml").write_text(text)
    composition.cache_clear()
    with pytest.raises((ConfigError, LayerError), match=message):
        compose(["train.member_models=[lenet,mine]"])
    composition.cache_clear()


def test_members_that_reconstruct_are_refused_whatever_the_members_are() -> None:
    with pytest.raises(ConfigError, match=r"members that classify.*model\.task"):
        compose(["model=autoencoder", "train.members=2"])
    with pytest.raises(ConfigError, match=r"evaluate\.tta=none for a network that is to recon"):
        compose(["model=autoencoder", "evaluate.tta=flips"])
    with pytest.raises(ConfigError, match=r"train\.sampling=natural with train\.bootstrap"):
        compose(["train.members=2", "train.bootstrap=true", "train.sampling=balanced"])


DOOR = """
import sys
from dvc.utils.hydra import compose_and_dump
compose_and_dump(sys.argv[1], sys.argv[2], None, "config", sys.argv[2], sys.argv[3:])
"""


def test_members_come_through_dvcs_door_as_well(root: Path, tmp_path: Path) -> None:
    overrides = ["train.member_models=[lenet,vgg]", "train.members=3", "activation=gelu"]
    out = tmp_path / "params.yaml"
    command = [sys.executable, "-c", DOOR, str(out), str(root / "conf"), *overrides]
    subprocess.run(command, cwd=root, check=True)
    assert out.read_text(encoding="utf-8") == compose(overrides)
    bad = [*command[:5], "train.member_models=[lenet,vgf]"]
    done = subprocess.run(bad, cwd=root, capture_output=True, text=True)
    assert "Unknown option 'vgf' for model in train.member_models" in done.stderr
