"""Where it runs, and what becomes of the trained network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from pipeline.schema.base import Count, Fraction, NotNegative, Section, Seed
from pipeline.schema.seeing import AttributionsSection, DreamsSection, EmbeddingSection


class BaselineSection(Section):
    """Methods without a network that it is compared with."""

    trees: Count  # of the random forest
    most: Count | None  # training tiles that they learn from; None: all
    seed: Seed


class RepeatSection(Section):
    """What ``python -m pipeline repeat`` runs again, with 0, 1, 2, ... for one key."""

    over: str | None = None  # the key, such as train.seed
    times: Count = 5


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
    layers: list[str] | None  # convolutions by name; None: the first and the last that is not large
    filters: list[int] | dict[str, list[int]] | None  # whose activations are shown; None: largest
    sort: Literal["norm", "similarity"] = "norm"  # order in which filters are shown
    tiles: list[int] | None  # rows of the test split; None: one a class
    kernel_band: str | None  # the band that blur and edge kernels run over; None: the last
    batch_size: Count
    # Each may be None, which leaves it out.
    attributions: AttributionsSection | None = AttributionsSection()
    dreams: DreamsSection | None = DreamsSection()
    embedding: EmbeddingSection | None = EmbeddingSection()


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
