"""Where tiles lie in what a network makes of them, before its last layer decides.

Features are what the last linear layer is given; of a network that reconstructs its tile, what its
narrowest layer leaves. Two dimensions are what a page can show of them: PCA keeps distances as far
as a plane can, t-SNE (van der Maaten & Hinton 2008) and UMAP (McInnes et al. 2018) keep neighbours,
and neither the sizes of groups nor how far apart they are. How many neighbours are kept is the
trustworthiness (Venna & Kaski 2001).
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline import steps
from pipeline.errors import ConfigError
from pipeline.subjects import PASSES, Subject

Floats = NDArray[np.float32]
Method = Literal["pca", "tsne", "umap"]
METHODS: tuple[Method, ...] = get_args(Method)
NAMES: dict[Method, str] = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
NEAR = 10  # tiles that vote on a tile's class, or whose places a picture should keep
PERPLEXITY = 30.0  # of t-SNE: neighbours that a tile has, about
ROUNDS = 500  # of t-SNE


def features(network: nn.Module, pixels: NDArray[Any]) -> Floats:
    """What the head is given of tiles (N, H, W, C): (N, F), of maps their means.

    Of a network that reconstructs, what its narrowest layer puts out, flat.

    Raises:
        NetworkError: There is no such layer.
    """
    subject = Subject.of(network, pixels.shape[-1], scored=False)
    parts: list[Tensor] = []
    with torch.no_grad(), _collected(subject.network, pixels[:1]) as collected:
        for start in range(0, len(pixels), PASSES):
            subject.network(subject.tensor(pixels[start : start + PASSES]))
            parts.append(collected.pop())
    if getattr(network, "task", "classify") != "reconstruct":
        parts = [part.flatten(2).mean(dim=2) if part.dim() > 2 else part for part in parts]
    return torch.cat([part.flatten(1) for part in parts]).cpu().numpy()


@contextmanager
def _collected(network: nn.Module, tile: NDArray[Any]) -> Iterator[list[Tensor]]:
    kept: list[Tensor] = []
    if getattr(network, "task", "classify") == "reconstruct":
        _, layer = list(steps.steps(network))[steps.narrowest(network, tile)]
        handle = layer.register_forward_hook(lambda _module, _inputs, out: kept.append(out))
    else:
        layer = network.get_submodule(steps.head(network))
        handle = layer.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    try:
        yield kept
    finally:
        handle.remove()


@dataclass(frozen=True)
class Placed:
    """Tiles in two dimensions."""

    method: Method
    places: Floats  # (N, 2)
    trustworthiness: float  # 1: the neighbours in the picture are neighbours; 0.5 about: by chance
    axes: tuple[str, str]  # what they are


def place(found: Floats, method: Method, seed: int = 0) -> Placed:
    """Lay features (N, F) out in two dimensions; the same seed gives the same places.

    Raises:
        ConfigError: There are fewer than four tiles, or umap-learn is missing.
    """
    from sklearn.manifold import trustworthiness

    if len(found) < 4:
        raise ConfigError(
            f"Expected four tiles or more to lay out, got {len(found)}; see "
            "visualize.embedding.tiles."
        )
    axes = ("", "")
    if method == "pca":
        places, axes = _pca(found, seed)
    elif method == "tsne":
        places = _tsne(found, seed)
    else:
        places = _umap(found, seed)
    near = min(NEAR, (len(found) - 1) // 2)
    kept = float(trustworthiness(found, places, n_neighbors=near)) if near else 1.0
    return Placed(method, places.astype(np.float32), kept, axes)


def _pca(found: Floats, seed: int) -> tuple[NDArray[Any], tuple[str, str]]:
    from sklearn.decomposition import PCA

    count = min(2, *found.shape)
    fitted = PCA(count, random_state=seed).fit(found)
    places = fitted.transform(found)
    shares = np.nan_to_num(fitted.explained_variance_ratio_)
    padded = np.pad(places, ((0, 0), (0, 2 - count)))
    first, second = (f"{100 * share:.0f} % of the variance" for share in np.pad(shares, (0, 1))[:2])
    return padded, (first, second)


def _tsne(found: Floats, seed: int) -> NDArray[Any]:
    from sklearn.manifold import TSNE

    perplexity = min(PERPLEXITY, (len(found) - 1) / 3)
    laid = TSNE(
        2, perplexity=perplexity, init="pca" if found.shape[1] > 1 else "random",
        random_state=seed, max_iter=ROUNDS, n_jobs=1,
    )  # fmt: skip
    return np.asarray(laid.fit_transform(found))


def _umap(found: Floats, seed: int) -> NDArray[Any]:
    check_umap()
    umap: Any = importlib.import_module("umap")
    laid = umap.UMAP(n_neighbors=min(15, len(found) - 1), random_state=seed, n_jobs=1)
    return np.asarray(laid.fit_transform(found))


def check_umap() -> None:
    """Refuse UMAP where it is not installed: it is an optional extra."""
    try:
        found = importlib.util.find_spec("umap")
    except ValueError:  # a module that stands for it, without a spec
        return
    if found is None:
        raise ConfigError(
            "Expected umap-learn for umap in visualize.embedding.methods, got none. Install it: "
            "pip install 'quadband[umap]'."
        )


@dataclass(frozen=True)
class Neighbours:
    """The nearest of some known tiles."""

    rows: NDArray[np.int64]  # (N, count) of the known, the nearest first
    distances: Floats  # (N, count), 1 being the median distance between tiles


def neighbours(found: Floats, known: Floats, count: int) -> Neighbours:
    """Of each tile (N, F) the nearest among the known (M, F), by Euclidean distance."""
    from sklearn.neighbors import NearestNeighbors

    asked = NearestNeighbors(n_neighbors=min(count, len(known)), algorithm="brute").fit(known)
    distances, rows = asked.kneighbors(found)
    usual = float(np.median(np.linalg.norm(known - known[::-1], axis=1))) or 1.0
    return Neighbours(rows, (distances / usual).astype(np.float32))


@dataclass(frozen=True)
class Separation:
    """How far apart classes lie in the features."""

    neighbours: float  # share of tiles whose nearest training tiles vote for their class
    silhouette: float  # -1 to 1 (Rousseeuw 1987); above 0: nearer to the own class; nan: no classes


def separation(
    found: Floats, labels: NDArray[Any], known: Floats, known_labels: NDArray[Any]
) -> Separation:
    """Of tiles (N, F) with these labels (N,), beside training tiles."""
    from sklearn.metrics import silhouette_score
    from sklearn.neighbors import KNeighborsClassifier

    voters = KNeighborsClassifier(min(NEAR, len(known)), algorithm="brute")
    right = voters.fit(known, known_labels).predict(found) == labels
    groups = len(np.unique(labels))
    apart = silhouette_score(found, labels) if 1 < groups < len(labels) else np.nan
    return Separation(float(right.mean()), float(apart))
