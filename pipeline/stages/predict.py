"""Map scenes: a georeferenced raster of classes, one of confidence, and a picture of both."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import bundle as bundles
from pipeline import console
from pipeline.bundle import Bundle
from pipeline.errors import BandError, BundleError, ClassError, ConfigError
from pipeline.glance import Glance, glance
from pipeline.mapping import BLOCK, Cells, Strip, classify
from pipeline.sources import raster
from pipeline.sources.raster import Reading
from pipeline.trained import limit_threads
from pipeline.types import Bands, Classes

if TYPE_CHECKING:
    from pipeline.schema import (
        EngineSection,
        EvaluateSection,
        PredictSection,
        Source,
        TrackingSection,
    )

OUT = Path("predictions")
PICTURES = Path("reports/maps")  # what the page shows; a map itself may be gigabytes
PICTURE = 900  # longer side of a scene in its picture, in pixels


def run(
    predict: PredictSection,
    evaluate: EvaluateSection,
    source: Source,
    engine: EngineSection,
    tracking: TrackingSection,
    scene: str | None = None,
) -> None:
    """Map one scene of ``predict.scenes``, or all; bands are found as in the source.

    What is mapped is what is measured: ``evaluate`` says how the network is heard.
    """
    if scene is not None and scene not in predict.scenes:
        known = ", ".join(predict.scenes) or "none"
        raise ConfigError(f"Expected a name in predict.scenes ({known}), got {scene!r}.")
    limit_threads(engine)
    bundle = bundles.load().heard(evaluate.vote, evaluate.tta)
    if bundle.reconstructs:
        _explain(predict.scenes)
        return
    if len(bundle.classes) > 254:
        raise ClassError(f"Expected at most 254 classes in a map, got {len(bundle.classes)}.")
    for name in [scene] if scene is not None else list(predict.scenes):
        files = map_scene(name, Path(predict.scenes[name]), bundle, predict, source)
        record(files, bundle, tracking)


def _explain(scenes: Mapping[str, str]) -> None:
    """Say that there are no classes to map; an error if somebody asked for maps."""
    sentence = "An autoencoder maps no classes: it draws its tile again"
    if scenes:
        raise BundleError(
            f"{sentence}, so it can't map {', '.join(scenes)}. Train a classifier, or set "
            "predict=none."
        )
    console.say(f"{sentence}. Nothing to predict.")


def map_scene(
    name: str, path: Path, bundle: Bundle, predict: PredictSection, source: Source
) -> list[Path]:
    """Write the maps and the picture of a scene; they stand in their place once they are whole."""
    stride = predict.stride or max(1, bundle.tile_size // 4)
    header = raster.look(path)
    cells = Cells(header.height, header.width, bundle.tile_size, stride, str(path))
    reading = Reading(
        bundle.bands.names, getattr(source, "nodata", None), getattr(source, "alpha_mask", False)
    )
    OUT.mkdir(parents=True, exist_ok=True)
    maps = [OUT / f"{name}.tif", OUT / f"{name}_confidence.tif"]
    parts = [target.with_name(f".{target.name}.part") for target in maps]
    with _cached(header.cache_bytes(4 * bundle.tile_size)), raster.opened(path) as dataset:
        indexes = find_bands(dataset, bundle.bands, source, str(path))
        beside = glance(dataset, indexes, bundle, reading)
        for sentence in beside.unlike if beside else ():
            console.warn(f"{name}: {sentence}")
        least = predict.min_confidence or 0.0
        strips = classify(dataset, indexes, bundle, cells, reading, predict.batch_size, least)
        _write(parts, dataset, cells, bundle.classes, strips, name)
        natural = [indexes[i] for i in bundle.bands.natural]
        picture, valid = _picture(dataset, natural, reading)
    for part, target in zip(parts, maps, strict=True):
        part.replace(target)
    reach = (cells.rows * stride / cells.height, cells.cols * stride / cells.width)
    drawn = _draw(name, maps[0], picture, valid, bundle.classes, reach)
    console.say(f"Mapped {name}: {cells.rows} x {cells.cols} cells of {stride} pixels, {maps[0]}.")
    return [*maps, drawn, _draw_bands(name, beside)]


def find_bands(dataset: Any, bands: Bands, source: Source, name: str) -> list[int]:
    """Indexes of the bands: by name where the scene names any, else where ``source.bands`` says."""
    places = source.bands
    if isinstance(places, list) or set(places) != set(bands):
        return raster.find_bands(dataset, bands.names, name)
    by_place = {band: places[band] for band in bands}
    if any(dataset.descriptions):
        with suppress(BandError):
            return raster.find_bands(dataset, bands.names, name)
    return raster.find_bands(dataset, by_place, name)


@contextmanager
def _cached(size: int) -> Iterator[None]:
    """Bound GDAL's block cache, and let rasters without a place on Earth pass."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with rasterio.Env(GDAL_CACHEMAX=size), warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        yield


def _write(
    paths: list[Path],
    dataset: Any,
    cells: Cells,
    classes: Classes,
    strips: Iterator[Strip],
    name: str,
) -> None:
    """Write strips as they come, a block of the map at a time."""
    import rasterio
    from rasterio.windows import Window

    profile = _profile(dataset, cells)
    with ExitStack() as stack:
        codes = stack.enter_context(rasterio.open(paths[0], "w", **profile, nodata=0))
        confidence = stack.enter_context(rasterio.open(paths[1], "w", **profile, nodata=255))
        _describe(codes, confidence, classes)
        blocks = -(-cells.rows // BLOCK)
        for block in console.progress(range(blocks), total=blocks, what=f"blocks of {name}"):
            end = min((block + 1) * BLOCK, cells.rows)
            waiting: list[Strip] = []
            while not waiting or waiting[-1].rows.stop < end:
                waiting.append(next(strips))
            place = Window(0, block * BLOCK, cells.cols, end - block * BLOCK)
            codes.write(np.concatenate([s.codes for s in waiting]), 1, window=place)
            confidence.write(np.concatenate([s.confidence for s in waiting]), 1, window=place)


def _profile(dataset: Any, cells: Cells) -> dict[str, Any]:
    return {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 1,
        "height": cells.rows,
        "width": cells.cols,
        "crs": dataset.crs,
        "transform": dataset.transform @ dataset.transform.scale(cells.stride),
        "tiled": True,
        "blockxsize": BLOCK,
        "blockysize": BLOCK,
        "compress": "deflate",
    }


def _describe(codes: Any, confidence: Any, classes: Classes) -> None:
    """Colours and names of the classes, so that a map explains itself in any viewer."""
    table = {0: (0, 0, 0, 0)}
    for code, colour in enumerate(classes.colours, start=1):
        red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
        table[code] = (red, green, blue, 255)
    codes.write_colormap(1, table)
    codes.set_band_description(1, "class")
    codes.update_tags(1, **{f"class_{code}": name for code, name in enumerate(classes, start=1)})
    confidence.set_band_description(1, "confidence in percent")


def _picture(
    dataset: Any, indexes: list[int], reading: Reading
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A scene shrunk to (h, w, 3), and which of its pixels hold data."""
    pixels = dataset.read(indexes, out_shape=(3, *_shrunk(dataset))).transpose(1, 2, 0)
    valid = np.isfinite(pixels).all(axis=-1)
    for channel, index in enumerate(indexes):
        for value in {dataset.nodatavals[index - 1], reading.nodata} - {None}:
            valid &= pixels[..., channel] != value
    return pixels, valid


def _shrunk(dataset: Any) -> tuple[int, int]:
    shrink = max(1.0, max(dataset.height, dataset.width) / PICTURE)
    return max(1, round(dataset.height / shrink)), max(1, round(dataset.width / shrink))


def _draw(
    name: str,
    path: Path,
    picture: NDArray[Any],
    valid: NDArray[np.bool_],
    classes: Classes,
    reach: tuple[float, float],
) -> Path:
    from pipeline.figures import canvas, maps

    shown = canvas.Stretch.of(picture, valid).apply(picture)
    shown[~valid] = 1.0
    with _cached(2**24), raster.opened(path) as dataset:
        codes = dataset.read(1, out_shape=_shrunk(dataset))
    figure = maps.class_map(shown, codes, classes, f"Class map of {name}", reach)
    return canvas.save(figure, PICTURES / f"{name}.png")


def _draw_bands(name: str, beside: Glance | None) -> Path:
    """The scene's values beside those of training, or a sheet that says why there are none."""
    from pipeline.figures import bands, canvas

    path = PICTURES / "bands" / f"{name}.png"
    title = f"Bands of {name} beside those of training"
    if beside is None:
        why = "The model tells nothing of the pixels it was trained on, or the scene has no data."
        return canvas.save(canvas.sheet(6.0, 1.2, title, why), path)
    told = " ".join(sentence[0].upper() + sentence[1:] for sentence in beside.unlike)
    looks = {"training": beside.seen, name: beside.found}
    return canvas.save(bands.spread(looks, title, told), path)


def record(files: list[Path], bundle: Bundle, tracking: TrackingSection) -> None:
    """Keep the maps in the MLflow run of these weights."""
    from pipeline.tracking import find

    with find(tracking, bundle.digest, params=bundle.params) as run:
        for file in files:
            run.artifact(file, "predictions")
