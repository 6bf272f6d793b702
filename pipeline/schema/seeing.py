"""What is looked at inside a trained network, and at what cost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipeline.schema.base import Count, Section, Seed

Attribution = Literal[
    "saliency", "integrated_gradients", "occlusion", "grad_cam", "guided_backprop"
]  # fmt: skip


class AttributionsSection(Section):
    """What in a tile speaks for its class."""

    methods: list[Attribution] = [
        "saliency", "integrated_gradients", "occlusion", "grad_cam", "guided_backprop",
    ]  # fmt: skip
    tiles: Count = 10  # recognised ones a class, that bands are measured on


class DreamsSection(Section):
    """Tiles that are made up to excite a class or a filter most."""

    steps: Count = 64  # of the ascent
    starts: Count = 3  # random tiles that it begins with; the best is kept
    classes: list[str] | None = None  # by name; None: all
    layer: str | None = None  # whose filters; None: the last convolution's maps
    filters: list[Annotated[int, Field(ge=0)]] | None = None  # None: the strongest on test tiles
    seed: Seed = 0


class EmbeddingSection(Section):
    """Where tiles lie in the features that the network's head is given."""

    methods: list[Literal["pca", "tsne", "umap"]] = ["pca", "tsne"]  # umap: an extra
    tiles: Count = 600  # of the test split, that are drawn
    thumbnails: bool = False  # a further picture, of tiles where they lie
    seed: Seed = 0
