"""All of ``params.yaml``."""

from __future__ import annotations

from typing import Any

from pydantic import model_validator

from pipeline.schema.base import Section
from pipeline.schema.learning import (
    AugmentSection,
    InitSection,
    Loss,
    ModelSection,
    Optimizer,
    Schedule,
    TrainSection,
)
from pipeline.schema.running import (
    AnalyzeSection,
    BaselineSection,
    DataSection,
    EngineSection,
    EvaluateSection,
    ExportSection,
    PredictSection,
    RepeatSection,
    TrackingSection,
    TrainerSection,
    VisualizeSection,
)
from pipeline.schema.tiles import (
    SampleSection,
    Source,
    SplitSection,
    TilesSection,
)


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
        if 1 < train.members < len(train.member_models):
            raise ValueError(
                f"expected train.members of {len(train.member_models)} or more, one for each name "
                f"in train.member_models ({', '.join(train.member_models)}), got {train.members}; "
                "leave train.members out for one of each"
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
