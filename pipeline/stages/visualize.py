"""Look inside the trained network: its filters, their answers to tiles, kernels made by hand."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import console, looking, probes, reconstruction, report
from pipeline.ensemble import Ensemble
from pipeline.errors import ConfigError
from pipeline.figures import canvas, inside, reconstructions
from pipeline.figures.canvas import FAINT
from pipeline.figures.inside import Answers
from pipeline.report import Inside, Picture, Subject
from pipeline.trained import Trained

if TYPE_CHECKING:
    from pipeline.schema import EngineSection, PredictSection, TrackingSection, VisualizeSection

REPORTS = Path("reports")
OUT = REPORTS / "visualize"
SPLIT = "test"
FILTERS = 6  # whose activations are shown unless some are named
RANKED = 6  # tiles of a network that reconstructs, unless some are named
# Blurs and edges; the identity shows nothing that the band itself does not.
KERNELS = [name for name in probes.KERNELS if name != "identity"]


@dataclass(frozen=True, slots=True)
class Shown:
    """Tiles that are looked at."""

    rows: list[int]  # of the test split
    pixels: NDArray[Any]  # (N, H, W, C)
    names: list[str]  # true class of each
    ids: list[str]
    colours: list[str]


def run(
    visualize: VisualizeSection,
    predict: PredictSection,
    engine: EngineSection,
    tracking: TrackingSection,
) -> None:
    """Write pictures and arrays to ``reports/visualize/`` and the page ``reports/index.html``."""
    whole = Trained.open(engine)
    member = choose_member(whole, visualize.member)
    trained = whole if member is None else whole.member(member)
    network = trained.bundle.network
    layer = visualize.layer or probes.first_convolution(network)
    if layer is not None:
        probes.convolution(network, layer)  # refuse another layer before any work is done
    band = visualize.kernel_band or trained.store.bands.names[-1]
    trained.store.bands.index(band)
    shown = choose_tiles(trained, visualize)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    others = {
        "kernels": draw_kernels(trained, shown, band),
        "reconstructions": draw_reconstructions(trained, shown),
        "pitfalls": looking.draw(trained.store, OUT),
    }
    if layer is None:
        console.say("The network has no convolution: no filters and activations to show.")
        content = Inside(None, **others)
    else:
        chosen = choose_filters(trained, layer, visualize.filters)
        content = Inside(
            layer,
            draw_filters(trained, layer),
            draw_activations(trained, shown, layer, chosen),
            **others,
        )
    forget_maps(predict.scenes)
    page = report.write(subject(whole, member), content, REPORTS, predict.scenes)
    console.say(f"Wrote {page} and {len(list(OUT.iterdir()))} files in {OUT}.")
    record(trained, page, tracking)


def choose_member(trained: Trained, wanted: int | None) -> int | None:
    """The member of an ensemble to look into; None for a single network."""
    network = trained.bundle.network
    count = len(trained.bundle.members)
    if wanted is not None and wanted >= max(1, count):
        known = f"a number from 0 to {count - 1}" if count else "0 or null, for a single network,"
        raise ConfigError(f"Expected {known} in visualize.member, got {wanted}.")
    if not isinstance(network, Ensemble):
        return None
    member = network.best if wanted is None else wanted
    console.say(
        f"Looks inside member {member} of {count}, {network.facts[member].model}, validation "
        f"accuracy {network.facts[member].accuracy:.4f}."
    )
    return member


def forget_maps(scenes: Collection[str]) -> None:
    """Remove pictures of scenes that are named no longer: DVC looks at their folder as a whole.

    It knows what a stage writes, not what it once wrote. The maps in ``predictions/`` stay.
    """
    for path in (REPORTS / "maps").rglob("*.png"):
        if path.stem not in scenes:
            path.unlink()


def subject(trained: Trained, member: int | None) -> Subject:
    """What the page says of the network at its top."""
    bundle = trained.bundle
    return Subject(
        name=bundle.name,
        digest=bundle.digest,
        bands=bundle.bands.names,
        classes=bundle.classes,
        tile_size=bundle.tile_size,
        parameters=sum(p.numel() for p in bundle.network.parameters()),
        reconstructs=bundle.reconstructs,
        members=bundle.members,
        inside=member,
    )


def choose_tiles(trained: Trained, visualize: VisualizeSection) -> Shown:
    """The tiles named in ``visualize.tiles``, or those that the task chooses."""
    store, count = trained.store, trained.store.count(SPLIT)
    if visualize.tiles is None:
        choose = ranked_tiles if trained.bundle.reconstructs else recognised_tiles
        rows = choose(trained, visualize.batch_size)
    else:
        rows = visualize.tiles
        if wrong := [row for row in rows if not 0 <= row < count] or not rows:
            raise ConfigError(
                f"Expected rows of the {SPLIT} split from 0 to {count - 1} in visualize.tiles, "
                f"got {wrong if rows else 'none'}."
            )
    places = [store.split_range(SPLIT).start + row for row in rows]
    names, labels = store.names(SPLIT), store.labels(SPLIT)
    colours = store.classes.colours or (FAINT,)
    return Shown(
        rows=rows,
        pixels=store.pixels(SPLIT, np.array(rows, dtype=np.int64)),
        names=[names[row] or f"tile {row}" for row in rows],
        ids=store.index["id"].iloc[places].tolist(),
        colours=[colours[labels[row]] for row in rows],
    )


def recognised_tiles(trained: Trained, batch_size: int) -> list[int]:
    """A tile of each class that has one it got right."""
    classes, actual = trained.store.classes, trained.store.labels(SPLIT)
    rows = typical(actual, trained.probabilities(SPLIT, batch_size))
    if missing := sorted(set(range(len(classes))) - set(actual[rows].tolist())):
        names = ", ".join(classes.names[k] for k in missing)
        console.say(f"No {SPLIT} tile of {names} was recognised: none is shown.")
    return rows


def ranked_tiles(trained: Trained, batch_size: int) -> list[int]:
    """Tiles from the best drawn to the worst."""
    errors = trained.errors(SPLIT, batch_size).of_tiles(trained.deviation)
    return reconstruction.spread(errors, RANKED)


def typical(actual: NDArray[np.int64], probabilities: NDArray[np.float32]) -> list[int]:
    """Row of the median confidence among the right ones of each class; of an even number, below."""
    right = probabilities.argmax(axis=1) == actual
    confidence = probabilities.max(axis=1)
    rows = []
    for label in range(probabilities.shape[1]):
        mine = np.flatnonzero(right & (actual == label))
        if len(mine):
            ranked = mine[np.argsort(confidence[mine], kind="stable")]
            rows.append(int(ranked[(len(ranked) - 1) // 2]))
    return rows


def choose_filters(trained: Trained, layer: str, wanted: list[int] | None) -> list[int]:
    """The filters named in ``visualize.filters``, or those with the largest norm."""
    weights = probes.filters(trained.bundle.network, layer)
    if wanted is None:
        return probes.strongest(weights, FILTERS)
    if not wanted or not all(0 <= index < len(weights) for index in wanted):
        raise ConfigError(
            f"Expected filters of {layer} from 0 to {len(weights) - 1} in visualize.filters, "
            f"got {wanted}."
        )
    return wanted


def save_arrays(name: str, arrays: dict[str, Any]) -> None:
    """Keep arrays by layer for those who want the numbers behind the pictures."""
    np.savez(OUT / f"{name}.npz", **arrays)


def draw_filters(trained: Trained, layer: str) -> list[Picture]:
    """Filters in false colour, if they see the bands themselves, and channel by channel."""
    weights = probes.filters(trained.bundle.network, layer)
    bands = trained.bundle.bands
    save_arrays("filters", {layer: weights})
    first = layer == probes.first_convolution(trained.bundle.network)
    pictures = []
    if first and weights.shape[1] == len(bands):
        channels: Sequence[str] = bands.names
        path = canvas.save(
            inside.filters_in_colour(weights, bands, layer), OUT / "filters_colour.png"
        )
        pictures.append(Picture("In false colour", path, f"Filters of {layer} as colour tiles."))
    else:
        channels = [str(i) for i in range(weights.shape[1])]
    path = canvas.save(
        inside.filters_by_channel(weights, channels, layer), OUT / "filters_channels.png"
    )
    alt = f"Weights of the filters of {layer}, one panel for each input channel."
    return [*pictures, Picture("Channel by channel", path, alt)]


def draw_activations(
    trained: Trained, shown: Shown, layer: str, chosen: list[int]
) -> list[Picture]:
    """What the chosen filters answer to each tile, layer after layer."""
    network = trained.bundle.network
    steps = probes.chain(network, layer)
    heard = probes.activations(network, shown.pixels, [step.layer for step in steps])
    save_arrays("activations", {"rows": np.array(shown.rows), **heard})
    bands = trained.bundle.bands
    stretch = canvas.Stretch.of(shown.pixels)
    looks = stretch.apply(shown.pixels)
    pictures = []
    for i, (row, name) in enumerate(zip(shown.rows, shown.names, strict=True)):
        views = {
            "natural colour": looks[i][..., list(bands.natural)],
            "false colour": looks[i][..., list(bands.false_colour)],
        }
        stages = answers(trained, steps, {key: maps[i] for key, maps in heard.items()}, chosen)
        figure = inside.activations(views, stages, f"{name}: {shown.ids[i]}")
        path = canvas.save(figure, OUT / f"activations_{row}.png")
        alt = f"A tile of {name} and what filters of {layer} make of it."
        pictures.append(Picture(f"{name}: {shown.ids[i]}", path, alt, shown.colours[i]))
    return pictures


def answers(
    trained: Trained,
    steps: Sequence[probes.Step],
    heard: dict[str, NDArray[Any]],
    chosen: list[int],
) -> list[Answers]:
    """Maps (F, h, w) of each step by the filter that made them.

    A further convolution has filters of its own, of which the largest are shown; where maps of
    several layers come together they are only numbered.
    """
    found: list[Answers] = []
    count = len(chosen)
    filters, word = len(heard[steps[0].layer]), "filter"
    for step in steps:
        maps = heard[step.layer]
        if step.role == "convolution":
            filters, word = len(maps), "filter"
            if found:
                weights = probes.filters(trained.bundle.network, step.layer)
                chosen = probes.strongest(weights, count)
        elif len(maps) != filters:
            filters, word, chosen = len(maps), "channel", list(range(min(count, len(maps))))
        columns = [f"{word} {index}" for index in chosen]
        found.append(Answers(f"{step.role}\n{step.layer}", columns, maps[chosen]))
    return found


def draw_reconstructions(trained: Trained, shown: Shown) -> list[Picture]:
    """The tiles beside what the network draws of them, if it does."""
    if not trained.bundle.reconstructs:
        return []
    drawn = trained.bundle.reconstructions(shown.pixels, batch_size=len(shown.pixels))
    save_arrays("reconstructions", {"rows": np.array(shown.rows), "pixels": drawn})
    bands = trained.bundle.bands
    figure = reconstructions.pairs(shown.pixels, drawn, shown.names, bands, trained.deviation)
    path = canvas.save(figure, OUT / "reconstructions.png")
    return [Picture("Reconstructions", path, "Tiles, their reconstructions, and the errors.")]


def draw_kernels(trained: Trained, shown: Shown, band: str) -> list[Picture]:
    """Hand-made kernels over one band of the tiles."""
    values = shown.pixels[..., trained.bundle.bands.index(band)]
    answers = {
        name: np.stack([probes.apply_kernel(value, probes.KERNELS[name]) for value in values])
        for name in KERNELS
    }
    masks = {name: probes.KERNELS[name] for name in KERNELS}
    figure = inside.kernels(list(zip(shown.names, values, strict=True)), answers, masks, band)
    path = canvas.save(figure, OUT / "kernels.png")
    return [Picture(f"Band {band}", path, f"Blurs and edges of the band {band}.")]


def record(trained: Trained, page: Path, tracking: TrackingSection) -> None:
    """Keep pictures, arrays and the page in the MLflow run of these weights."""
    from pipeline.tracking import find

    with find(tracking, trained.bundle.digest, params=trained.bundle.params) as run:
        run.artifact(OUT, "visualize")
        run.artifact(page)
