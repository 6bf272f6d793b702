"""What is trained, and how."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from pipeline.schema.base import BelowOne, Count, Fraction, NotNegative, Positive, Section, Seed


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
