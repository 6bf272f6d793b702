"""The sections of ``params.yaml``, typed: what may be set, and to what.

A section is one model below; an unknown key, a wrong type or a value out of range is refused by
``pipeline.config`` with the file, the key and the nearest spelling. Stages import this module for
type checking only, so that a new key in one section does not rerun the stages of another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]  # what torch and numpy both take
BelowOne = Annotated[float, Field(ge=0.0, lt=1.0)]


class Section(BaseModel):
    """Base of all sections: nothing unknown, nothing changed after birth."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class SampleSection(Section):
    """Made-up scenes: how many, how large, from which seed."""

    seed: Seed
    scenes: Count
    size: Annotated[int, Field(ge=128)]  # pixels a side
    resolution: Positive  # metres a pixel


class TilesSection(Section):
    """The size and the grid of the tiles."""

    size: Count  # pixels a side
    stride: Count | None = None  # pixels from tile to tile; None: the size, no overlap


# A band is found by its name in the file's band descriptions, or at an index (1-based, as GDAL
# counts) that the user gives.
BandsSetting = list[str] | dict[str, Annotated[int, Field(ge=1)]]


# Tiles to leave out: ids, or a CSV file with a column tile_id or id.
Exclude = str | list[str] | None


class FoldersSource(Section):
    """Rasters in class folders: ``root/<class>/*.tif``."""

    kind: Literal["folders"]
    root: str
    bands: BandsSetting
    labels: Literal["folder", "none"] = "folder"  # none: unlabelled files, at any depth below root
    classes: list[str] | None = None  # None: every folder, sorted
    pattern: str = "*"  # which files of a class folder
    nodata: float | None = None  # beside the declared one
    alpha_mask: bool = False  # the file's alpha band or mask marks what is valid
    make: list[str] = []  # stages that make this source
    extra_scenes: dict[str, str] = {}  # name -> path: what predict maps by default
    exclude: Exclude = None
    excluded: str = ""  # what DVC watches of it


class ScenesSource(Section):
    """Rasters with a label raster each, or with polygons."""

    kind: Literal["scenes"]
    root: str
    bands: BandsSetting
    pattern: str  # which files below root are scenes
    labels: str  # label raster or polygons, below root; {stem} is the scene's name; none: no labels
    classes: dict[str, int | str] | None = None  # class name -> value in the labels
    ignore: list[int | str] = []  # label values that are not a class and do not count
    attribute: str | None = None  # polygons: the column that holds the class
    tie_break: Literal["largest", "first"] = "largest"  # of the classes over min_purity
    min_purity: Fraction  # share of a tile that its class must cover
    nodata: float | None = None
    alpha_mask: bool = False
    make: list[str] = []  # stages that make this source
    extra_scenes: dict[str, str] = {}  # name -> path: what predict maps by default
    exclude: Exclude = None
    excluded: str = ""  # what DVC watches of it

    @model_validator(mode="after")
    def _has_classes(self) -> ScenesSource:
        if self.labels != "none" and not self.classes:
            raise ValueError(
                "expected source.classes={name: value, ...} for what source.labels holds, got "
                "none; or take the tiles without labels, source.labels=none"
            )
        return self


class SatSource(Section):
    """SAT-6 and SAT-4, as .mat or .csv."""

    kind: Literal["sat"]
    path: str
    root: str  # what DVC watches: the same path
    bands: list[str]
    labels: Literal["one_hot", "none"] = "one_hot"  # none: left unread
    classes: list[str] | None = None  # None: the file's own annotations
    make: list[str] = []  # stages that make this source
    extra_scenes: dict[str, str] = {}  # name -> path: what predict maps by default
    exclude: Exclude = None
    excluded: str = ""  # what DVC watches of it


Source = Annotated[FoldersSource | ScenesSource | SatSource, Field(discriminator="kind")]


class SplitSection(Section):
    """How tiles are divided into training, validation and test."""

    method: Literal["auto", "official", "random", "group", "scene", "block"]
    train: Fraction
    validation: Fraction
    test: Fraction
    block_size: Positive | None = None  # in units of the CRS; None: ten tiles
    train_per_class: Count | None = None  # training tiles of a class, at most; None: all
    folds: Annotated[int, Field(ge=2)] | None = None  # parts, each the test once; None: split.test
    fold: Annotated[int, Field(ge=0)] = 0  # the part that is the test
    duplicates: Literal["error", "drop"] = "error"  # the same tile in two splits
    near_duplicates: Literal["report", "drop"] = "report"  # moved a little, or with some noise
    seed: Seed

    @property
    def shares(self) -> tuple[float, float, float]:
        """Of training, validation and test; with folds the test is a part, and they the rest."""
        if self.folds is None:
            return self.train, self.validation, self.test
        rest = (1 - 1 / self.folds) / (self.train + self.validation)
        return self.train * rest, self.validation * rest, 1 / self.folds

    @model_validator(mode="after")
    def _folds_fit(self) -> SplitSection:
        if self.folds is None:
            return self
        if self.fold >= self.folds:
            raise ValueError(
                f"expected a fold from 0 to {self.folds - 1} of split.folds={self.folds}, got "
                f"split.fold={self.fold}"
            )
        if not self.train:
            raise ValueError("expected split.train above 0, to share out what is no test, got 0")
        if self.method == "official":
            raise ValueError(
                "expected folds of tiles that are split here, got split.method=official, whose "
                "test tiles are given; split=auto makes folds of all tiles"
            )
        return self

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitSection:
        total = self.train + self.validation + self.test
        if abs(total - 1.0) > 1e-6:
            raise ValueError(f"train, validation and test must add up to 1, got {total:g}")
        return self


class ModelSection(Section):
    """The network: a named mapping of layers, each a target and its arguments."""

    name: str
    task: Literal["classify", "reconstruct"] = "classify"  # an autoencoder reconstructs its tile
    layers: dict[str, dict[str, Any] | None]


class InitSection(Section):
    """How weights start."""

    name: Literal["torch", "normal", "xavier", "he"]
    deviation: Positive = 0.01  # of ``normal`` alone


class AugmentSection(Section):
    """What happens to a training batch; a deviation is that of pixels over the training tiles."""

    flips: bool | Literal["alternate"]  # alternate: one of the four ways after the other
    quarter_turns: bool
    rotation: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0  # degrees at most, either way
    zoom: NotNegative = 0.0  # at most; 0.2 is from 1 / 1.2 to 1.2
    shift: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0  # at most, in shares of a side
    brightness: NotNegative  # of a shift, the same in all bands, in mean deviations
    contrast: NotNegative  # of a factor around 1
    band_brightness: NotNegative = 0.0  # of a shift of each band, in its deviations
    band_contrast: NotNegative = 0.0  # of a factor around 1, for each band
    haze: Fraction = 0.0  # at most, share of the light that is a veil's
    noise: NotNegative  # at most, of independent noise a pixel, in deviations of the band
    scratches: Fraction = 0.0  # share of tiles with a bright or dark line
    dead_lines: Fraction = 0.0  # share of tiles with a row of a band missing
    band_dropout: Fraction = 0.0  # chance of a band to be blank
    mixup: NotNegative = 0.0  # alpha of Beta(alpha, alpha), from which shares of two tiles come
    cutmix: NotNegative = 0.0  # the same, for rectangles of one tile put into another


class SgdOptimizer(Section):
    """Stochastic gradient descent, with momentum or without."""

    name: Literal["sgd"]
    lr: Positive
    momentum: NotNegative
    nesterov: bool
    weight_decay: NotNegative
    factors: dict[str, Positive] | None = None  # layers by name or glob -> factor of the rate

    @model_validator(mode="after")
    def _has_momentum(self) -> SgdOptimizer:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class AdamOptimizer(Section):
    """Adam, or AdamW with its decoupled weight decay."""

    name: Literal["adam", "adamw"]
    lr: Positive
    betas: tuple[BelowOne, BelowOne]
    weight_decay: NotNegative
    factors: dict[str, Positive] | None = None  # layers by name or glob -> factor of the rate


Optimizer = Annotated[SgdOptimizer | AdamOptimizer, Field(discriminator="name")]


class ConstantSchedule(Section):
    """The learning rate as given."""

    name: Literal["constant"]


class StepSchedule(Section):
    """The learning rate times ``factor`` after every ``every`` epochs."""

    name: Literal["step"]
    every: Count
    factor: Positive


class CosineSchedule(Section):
    """Down to ``final`` times the learning rate along half a cosine, after a warm-up."""

    name: Literal["cosine"]
    warmup: Fraction  # share of all steps
    final: Fraction


class OneCycleSchedule(Section):
    """Up from lr / ``start`` to lr in the first ``warmup`` of all steps, then down to almost 0."""

    name: Literal["one_cycle"]
    warmup: Fraction
    start: Positive


Schedule = Annotated[
    ConstantSchedule | StepSchedule | CosineSchedule | OneCycleSchedule,
    Field(discriminator="name"),
]


class LossSection(Section):
    """Cross-entropy, smoothed and weighted: for networks that classify."""

    name: Literal["cross_entropy"]
    label_smoothing: Fraction
    class_weights: Literal["none", "balanced"] | dict[str, NotNegative]


class FocalSection(Section):
    """Cross-entropy in which tiles that are told already count less (Lin et al. 2017)."""

    name: Literal["focal"]
    gamma: NotNegative = 2.0  # of the factor (1 - p)^gamma, with p of the true class
    label_smoothing: Fraction
    class_weights: Literal["none", "balanced"] | dict[str, NotNegative]


class SquaredErrorSection(Section):
    """Mean squared error of normalized pixels: for networks that reconstruct their tile."""

    name: Literal["squared_error"]


Loss = Annotated[LossSection | FocalSection | SquaredErrorSection, Field(discriminator="name")]


class BaselineSection(Section):
    """Methods without a network that it is compared with."""

    trees: Count  # of the random forest
    most: Count | None  # training tiles that they learn from; None: all
    seed: Seed


class RepeatSection(Section):
    """What ``python -m pipeline repeat`` runs again, with 0, 1, 2, ... for one key."""

    over: str | None = None  # the key, such as train.seed
    times: Count = 5


class TrainSection(Section):
    """How long, how large, from which seed, and which epoch is kept."""

    epochs: Count
    min_steps: Annotated[int, Field(ge=0)]  # epochs are added until so many
    batch_size: Count  # on each device
    accumulate: Count = 1  # batches whose gradients are summed for a step
    # How often tiles come in an epoch: once, classes alike, or class -> factor.
    sampling: Literal["natural", "balanced"] | dict[str, NotNegative] = "natural"
    seed: Seed
    monitor: Literal["accuracy", "balanced_accuracy", "macro_f1", "loss"]  # on validation
    patience: Count | None  # epochs without a gain before stopping; None: never
    clip: Positive | None = None  # longest gradient that is followed as it is; None: any
    average: BelowOne  # share of the running average of weights kept a step; 0: none
    swa: Fraction = 0.0  # share of the steps, the last, whose weights are averaged all alike
    init_from: str | None = None  # a folder that holds a bundle, or an MLflow model address
    donor: str = ""  # what DVC watches: the folder of init_from, or a file that never changes
    init_bands: Literal["by_name", "mean", "random"] = "by_name"  # how first layers start
    freeze: list[str] = []  # layers by name or glob that don't learn
    members: Count = 1  # networks that vote; 1: a single network
    bootstrap: bool = False  # each member learns from tiles drawn with replacement
    member_models: list[str] = []  # options of model that members take in turn; []: the model
    member_networks: dict[str, ModelSection] = {}  # what these names stood for

    @property
    def count(self) -> int:
        """Networks to train."""
        return max(self.members, len(self.member_models))

    def models(self, model: ModelSection) -> list[ModelSection]:
        """The model of each network: those that are named, in turn, or else the one given."""
        named = [self.member_networks[name] for name in self.member_models] or [model]
        return [named[i % len(named)] for i in range(self.count)]

    @field_validator("init_from")
    @classmethod
    def _is_kept(cls, init_from: str | None) -> str | None:
        own = Path("models").resolve()
        address = init_from is None or init_from.startswith(("runs:/", "models:/"))
        if not address and Path(init_from or "").resolve().is_relative_to(own):
            raise ValueError(
                "expected a donor outside models/, which train writes anew; copy it to another "
                "folder first"
            )
        return init_from


class TrainerSection(Section):
    """Where training runs; changes no result worth a rerun."""

    accelerator: Literal["auto", "cpu", "gpu"]
    devices: Count | Literal["auto"]
    num_nodes: Count
    strategy: Literal["auto", "ddp"]
    detect_anomaly: bool


class EngineSection(Section):
    """How the device is driven."""

    # Unquoted, as anybody writes it, YAML's 32 is a number.
    precision: Annotated[Literal["auto", "32", "bf16"], BeforeValidator(str)]
    compile: bool = False  # the network by torch.compile
    threads: Count | None  # of the CPU, a process; None: what torch finds
    workers: Count | None  # processes that read imagery; None: one a core
    members: Count | None = None  # trained at a time; None: one a GPU, one on a CPU


class DataSection(Section):
    """How tiles reach the device; the batches are the same either way."""

    mode: Literal["auto", "resident", "streamed"]
    memory: Count | None  # MiB that tiles may take on a machine; None: a share of what is free


class TrackingSection(Section):
    """Where runs are recorded."""

    enabled: bool
    experiment: str
    uri: str | None  # None: MLFLOW_TRACKING_URI, else mlflow.db in the project's root


class AnalyzeSection(Section):
    """What the analysis of a network reports."""

    batch_size: Count  # memory is told for a batch of this size
    strict: bool  # a stride that loses rows or columns of its input is an error


class EvaluateSection(Section):
    """Which tiles the network is measured on, and how it is heard: there, on maps and exported."""

    split: Literal["train", "validation", "test"]
    batch_size: Count
    vote: Literal["soft", "hard", "weighted"] = "soft"  # of the members of an ensemble
    tta: Literal["none", "flips", "symmetries"] = "none"  # ways to lay a tile, averaged over
    places: Literal["auto", "block", "group", "scene", "tile"] = "auto"  # what intervals resample
    wanted_accuracy: Fraction | None = None  # of the tiles that are not left out; None: all are in
    areas: dict[str, NotNegative] | None = None  # class -> area that a map gives it, in any unit


class VisualizeSection(Section):
    """What is looked at inside the network."""

    member: Annotated[int, Field(ge=0)] | None = None  # of an ensemble; None: the best
    layer: str | None  # a convolution by name; None: the first
    filters: list[int] | None  # whose activations are shown; None: the largest by norm
    tiles: list[int] | None  # rows of the test split; None: one a class
    kernel_band: str | None  # the band that blur and edge kernels run over; None: the last
    batch_size: Count


class PredictSection(Section):
    """Scenes to map."""

    scenes: dict[str, str]  # name -> path
    stride: Count | None  # pixels from window to window, = side of a map cell; None: tile size / 4
    batch_size: Count
    min_confidence: Fraction | None = None  # cells below it stay without a class; None: none does

    @field_validator("scenes")
    @classmethod
    def _are_file_names(cls, scenes: dict[str, str]) -> dict[str, str]:
        for name in scenes:
            if not name or name.startswith(".") or set(name) & set("/\\"):
                raise ValueError(
                    "expected names that a file can have, for predictions/<name>.tif, without "
                    f"slashes or a dot in front, got {name!r}"
                )
        return scenes


class ExportSection(Section):
    """What goes into the exported bundle."""

    onnx: bool


class Params(Section):
    """All of ``params.yaml``."""

    bands: list[str]  # what source.bands stands for unless it says otherwise
    sample: SampleSection
    source: Source
    tiles: TilesSection
    split: SplitSection
    activation: dict[str, Any]  # what ${activation} stood for in the model's layers
    model: ModelSection
    init: InitSection
    augment: AugmentSection
    optimizer: Optimizer
    schedule: Schedule
    loss: Loss
    train: TrainSection
    trainer: TrainerSection
    engine: EngineSection
    data: DataSection
    tracking: TrackingSection
    analyze: AnalyzeSection
    baseline: BaselineSection
    evaluate: EvaluateSection
    visualize: VisualizeSection
    predict: PredictSection
    export: ExportSection
    repeat: RepeatSection = RepeatSection()

    @model_validator(mode="after")
    def _task_fits(self) -> Params:
        """A loss and a measure that the network's task has."""
        draws = self.model.task == "reconstruct"
        wanted = ("squared_error",) if draws else ("cross_entropy", "focal")
        if self.loss.name not in wanted:
            raise ValueError(
                f"expected loss={' or '.join(wanted)} for a network that is to {self.model.task} "
                f"(model.task), got loss={self.loss.name}"
            )
        if draws and self.train.monitor != "loss":
            raise ValueError(
                "expected train.monitor=loss for a network that is to reconstruct (model.task), "
                f"which has no classes to count, got train.monitor={self.train.monitor}"
            )
        return self

    @model_validator(mode="after")
    def _has_members(self) -> Params:
        """Members, where options are given that only they have, and the layers of each."""
        train = self.train
        if train.count == 1 and (train.member_models or train.bootstrap):
            key = "member_models" if train.member_models else "bootstrap"
            raise ValueError(
                f"expected train.members above 1 with train.{key}, which is for networks that "
                "vote, got 1"
            )
        if train.bootstrap and train.sampling != "natural":
            raise ValueError(
                "expected train.sampling=natural with train.bootstrap, which draws tiles by "
                f"itself, got train.sampling={train.sampling}"
            )
        if set(train.member_networks) != set(train.member_models):
            raise ValueError(
                "expected in train.member_networks the layers of the models that "
                f"train.member_models names ({', '.join(train.member_models) or 'none'}), got "
                f"those of {', '.join(train.member_networks) or 'none'}; leave "
                "train.member_networks as it is"
            )
        return self

    @model_validator(mode="after")
    def _can_vote(self) -> Params:
        """Members, and views of a tile, only of networks that tell classes."""
        named = {"model.task": self.model.task} | {
            f"member {name}": network.task for name, network in self.train.member_networks.items()
        }
        drawing = [where for where, task in named.items() if task == "reconstruct"]
        if drawing and self.train.count > 1:
            raise ValueError(
                "expected members that classify, which can vote, got one that is to reconstruct "
                f"({drawing[0]}); leave it out of train.member_models, or set train.members=1"
            )
        if drawing and self.evaluate.tta != "none":
            raise ValueError(
                "expected evaluate.tta=none for a network that is to reconstruct (model.task), "
                f"whose outputs lie as the tile does, got evaluate.tta={self.evaluate.tta}"
            )
        return self

    @model_validator(mode="after")
    def _mixtures_have_labels(self) -> Params:
        """Two labels a tile, in shares: a network that reconstructs has none to mix."""
        for name in ("mixup", "cutmix"):
            if self.model.task == "reconstruct" and getattr(self.augment, name):
                raise ValueError(
                    f"expected augment.{name}=0 for a network that is to reconstruct "
                    f"(model.task), as it mixes labels, got {getattr(self.augment, name):g}"
                )
        return self

    @model_validator(mode="after")
    def _classes_fit(self) -> Params:
        """Weights of classes that there are, where the source's section names them."""
        weights = getattr(self.loss, "class_weights", None)
        known = self.source.classes or ()
        by_class = {"loss.class_weights": weights, "train.sampling": self.train.sampling}
        for key, wanted in by_class.items():
            named = wanted if known and isinstance(wanted, dict) else ()
            if unknown := [name for name in named if name not in known]:
                raise ValueError(
                    f"expected classes of the source in {key}, got {unknown[0]!r}; "
                    f"known: {', '.join(known)}"
                )
        return self

    @model_validator(mode="after")
    def _classes_are_balanced_once(self) -> Params:
        """By the tiles that come, or by what they weigh."""
        weights = getattr(self.loss, "class_weights", None)
        if self.train.sampling == weights == "balanced":
            raise ValueError(
                "expected one of train.sampling=balanced and loss.class_weights=balanced, got "
                "both, which would balance the classes twice; set the other to natural or none"
            )
        return self

    @model_validator(mode="after")
    def _test_tiles_come(self) -> Params:
        """Tiles in the split that the network is to be measured on."""
        share = self.split.shares[("train", "validation", "test").index(self.evaluate.split)]
        if share == 0 and self.split.method not in ("auto", "official"):
            raise ValueError(
                f"expected split.{self.evaluate.split} above 0, as evaluate.split says to measure "
                f"on these tiles, got 0; split={self.split.method} takes shares that fit"
            )
        return self
