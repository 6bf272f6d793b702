"""Where tiles come from, and how they are split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AllowInfNan, Field, model_validator

from pipeline.schema.base import Count, Fraction, Positive, Section, Seed


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


Level = Annotated[float, AllowInfNan(True)]  # of a pixel: nan often stands for no data

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
    nodata: Level | None = None  # beside the declared one
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
    nodata: Level | None = None
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
