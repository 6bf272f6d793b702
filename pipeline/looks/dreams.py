"""The tiles that would excite each class, and some filters, most."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import dreams, probes, steps
from pipeline.dreams import Floats, Plausible
from pipeline.errors import ConfigError, NetworkError
from pipeline.figures import canvas
from pipeline.figures import dreams as figures
from pipeline.figures.dreams import Row
from pipeline.looks.base import SPLIT, Look, evenly, under
from pipeline.report import Picture, Section
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import DreamsSection, VisualizeSection

FILTERS = 6  # that are shown unless some are named
TRAINING = 300  # tiles that say what is plausible
TILES = 1000  # of the test split that are searched for the real tile
TEXT = (
    "Tiles that nobody took: made from noise, step by step, so that they excite a class or a "
    "filter most, within the range of the training pixels. What the network asks for shows in "
    "them; what it needs not, a scene's sense or its shapes, does not."
)


def check(trained: Trained, settings: VisualizeSection) -> None:
    """Refuse classes, a layer and filters that are not there."""
    if settings.dreams is None:
        return
    classes, wanted = trained.bundle.classes, settings.dreams.classes
    with under("visualize.dreams.classes"):
        if wanted is not None and not wanted:
            raise ConfigError("Expected classes, or null for all of them, got none.")
        for name in wanted or ():
            classes.index(name)
    with under("visualize.dreams.layer"):
        _layer(trained, settings.dreams)


def draw(look: Look) -> list[Section]:
    """Dreams of the classes, if the network tells any, and of a layer's filters, if it has any."""
    settings, trained = look.settings.dreams, look.trained
    if settings is None:
        return []
    training = _some(trained, "train", TRAINING)
    plausible = Plausible.of(training)
    stretch = canvas.Stretch.of(training)
    real = _some(trained, SPLIT, TILES)
    pictures = []
    if not trained.bundle.reconstructs:
        pictures.append(_of_classes(look, settings, plausible, stretch, real))
    layer = _layer(trained, settings)
    if layer is not None:
        pictures.append(_of_filters(look, settings, plausible, stretch, real, layer))
    return [Section("dreams", "What it dreams of", TEXT, pictures)] if pictures else []


def _some(trained: Trained, split: str, most: int) -> NDArray[Any]:
    """Up to so many tiles of a split, evenly from end to end."""
    return trained.store.pixels(split, evenly(trained.store.count(split), most))


def _layer(trained: Trained, settings: DreamsSection) -> str | None:
    """The layer named in ``visualize.dreams.layer``, or that of the last maps; None without any.

    Raises:
        NetworkError: The layer is not there, or has no maps.
        ConfigError: It lacks filters that were named.
    """
    bundle = trained.bundle
    side = bundle.tile_size
    blank = np.zeros((1, side, side, len(bundle.bands)), np.float32)
    layer = settings.layer
    if layer is None:
        try:
            layer = steps.last_map(bundle.network, blank)
        except NetworkError:
            if settings.filters is None:
                return None
            raise
    out = probes.activations(bundle.network, blank, [layer])[layer]
    if out.ndim != 4:
        raise NetworkError(f"Expected a layer with maps, got {layer}, which has none.")
    wanted = [0] if settings.filters is None else settings.filters
    if not wanted or max(wanted) >= out.shape[1]:
        raise ConfigError(
            f"Expected filters of {layer} from 0 to {out.shape[1] - 1} in "
            f"visualize.dreams.filters, got {wanted}."
        )
    return layer


def _of_classes(
    look: Look, settings: DreamsSection, plausible: Plausible, stretch: canvas.Stretch,
    real: NDArray[Any],
) -> Picture:  # fmt: skip
    bundle = look.trained.bundle
    names = bundle.classes.names if settings.classes is None else settings.classes
    chosen = [bundle.classes.index(name) for name in names]
    made = dreams.dream(bundle.network, plausible, bundle.tile_size, chosen, None, settings.steps,
                        settings.starts, settings.seed)  # fmt: skip
    heard = dreams.answers(bundle.network, real)
    look.save_arrays("dreams_classes", {"class": np.array(chosen), "pixels": made.pixels,
                                        "log_odds": made.reached})  # fmt: skip
    named = heard.argmax(axis=1)
    rows = []
    for i, (label, name) in enumerate(zip(chosen, names, strict=True)):
        best, mine = int(heard[:, label].argmax()), real[named == label]
        usual = mine if len(mine) else real
        rows.append(
            Row(
                f"{name}\nlog-odds {made.reached[i]:.0f}\nof real tiles\nat most "
                f"{heard[best, label]:.0f}",
                made.pixels[i],
                real[best],
                usual.mean(axis=(1, 2)),
            )
        )
    figure = figures.dreams(
        rows,
        look.bands,
        stretch,
        "What each class would look like at its most",
        f"{_told(plausible, look, settings)} Beside it the one of {len(real):,} test tiles with "
        "the highest log-odds; compared with those that are taken for the class.",
        "most of real tiles",
    )
    path = look.save(figure, "dreams_classes.png")
    return Picture("Classes", path, "Made-up tiles that excite each class most.")


def _of_filters(
    look: Look, settings: DreamsSection, plausible: Plausible, stretch: canvas.Stretch,
    real: NDArray[Any], layer: str,
) -> Picture:  # fmt: skip
    bundle = look.trained.bundle
    heard = dreams.answers(bundle.network, real, layer)
    chosen = _lively(heard) if settings.filters is None else settings.filters
    made = dreams.dream(bundle.network, plausible, bundle.tile_size, chosen, layer, settings.steps,
                        settings.starts, settings.seed)  # fmt: skip
    look.save_arrays("dreams_filters", {"filter": np.array(chosen), "pixels": made.pixels,
                                        "reached": made.reached})  # fmt: skip
    rows = []
    for i, index in enumerate(chosen):
        best = int(heard[:, index].argmax())
        heading = (
            f"filter {index}\nanswers {made.reached[i]:.3g}\nto real tiles\nat most "
            f"{heard[best, index]:.3g}"
        )
        rows.append(Row(heading, made.pixels[i], real[best], real.mean(axis=(1, 2))))
    figure = figures.dreams(
        rows,
        look.bands,
        stretch,
        f"What filters of {layer} look for",
        f"{_told(plausible, look, settings)} Beside it the one of {len(real):,} test tiles that "
        "excites the filter most, by the mean of its map; compared with all of these.",
        "most of real tiles",
    )
    path = look.save(figure, "dreams_filters.png")
    return Picture("Filters", path, f"Made-up tiles that excite filters of {layer} most.")


def _lively(heard: Floats) -> list[int]:
    """The channels whose answers differ most from tile to tile."""
    return [int(i) for i in np.argsort(-heard.std(axis=0), kind="stable")[:FILTERS]]


def _told(plausible: Plausible, look: Look, settings: DreamsSection) -> str:
    ranges = ", ".join(
        f"{name} {low:.4g} to {high:.4g}"
        for name, low, high in zip(look.bands, plausible.low, plausible.high, strict=True)
    )
    low, high = dreams.RANGE
    return (
        f"{settings.steps} steps, the best of {settings.starts} starts; values stay within "
        f"percentiles {low:g} to {high:g} of training ({ranges})."
    )
