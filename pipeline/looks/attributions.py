"""What in a tile speaks for its class, which band matters, and how far to believe such maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import attributions, console, trust
from pipeline.attributions import Floats, Method
from pipeline.figures import attributions as figures
from pipeline.figures import canvas
from pipeline.figures.attributions import Believed, Spread
from pipeline.looks.base import SPLIT, Look
from pipeline.report import Picture, Section
from pipeline.trust import Removal, Sanity, Trust

BANDS: Method = "integrated_gradients"  # which adds up, so that a band's share means something
SIGNED: tuple[Method, ...] = ("integrated_gradients", "occlusion")
TRUSTED = 4  # tiles a class that methods are tested on
MAPS = (
    "What in a tile speaks for the class that the network names, asked in several ways: how the "
    "output answers to a small change (saliency), what each pixel adds on the way from the mean "
    "tile (integrated gradients), what is lost where a square is hidden (occlusion), where the "
    "last convolution finds it (Grad-CAM), and the gradient through open units alone (guided "
    "back-propagation). The bands of a pixel are added up; the second picture has them one by one."
)


@dataclass(frozen=True)
class Tiles:
    """Tiles that are attributed, and what the network says of them."""

    pixels: NDArray[Any]  # (N, H, W, C)
    named: NDArray[np.int64]  # (N,) the class that the network names
    sure: NDArray[np.float32]  # (N,) its probability


def draw(look: Look) -> list[Section]:
    """Maps of the tiles shown, bands class by class, and tests of the methods."""
    settings, network = look.settings.attributions, look.trained.bundle.network
    if settings is None:
        return []
    if look.trained.bundle.reconstructs:
        console.say("The network tells no class: nothing in a tile can speak for one.")
        return []
    reasons = attributions.fitting(network, look.shown.pixels)
    methods: list[Method] = [m for m in settings.methods if m != "grad_cam" or not reasons[m]]
    told = [reasons[method] for method in settings.methods if reasons[method]]
    tiles = recognised(look, settings.tiles)
    sections = [of_tiles(look, methods, " ".join(told))] if methods else []
    if len(tiles.pixels):
        sections.append(of_bands(look, tiles))
        if methods:
            sections.append(of_trust(look, methods, first(tiles, TRUSTED)))
    return sections


def recognised(look: Look, most: int) -> Tiles:
    """Up to so many test tiles a class that the network gets right, drawn from a fixed seed."""
    store = look.trained.store
    found = look.trained.probabilities(SPLIT, look.settings.batch_size)
    named, actual = found.argmax(axis=1), store.labels(SPLIT)
    order = np.random.default_rng(0).permutation(len(named))
    rows = [
        row
        for label in range(len(store.classes))
        for row in sorted(order[(named == actual)[order] & (actual[order] == label)][:most])
    ]
    kept = np.array(rows, dtype=np.int64)
    return Tiles(store.pixels(SPLIT, kept), named[kept], found[kept].max(axis=1))


def first(tiles: Tiles, most: int) -> Tiles:
    """Up to so many of each class."""
    kept = np.concatenate(
        [np.flatnonzero(tiles.named == label)[:most] for label in np.unique(tiles.named)]
    )
    return Tiles(tiles.pixels[kept], tiles.named[kept], tiles.sure[kept])


def of_tiles(look: Look, methods: list[Method], told: str) -> Section:
    """Maps of the tiles shown, by pixel and by band."""
    shown, bundle = look.shown, look.trained.bundle
    found = bundle.probabilities(shown.pixels, batch_size=look.settings.batch_size)
    named = found.argmax(axis=1)
    made = {m: attributions.attribute(bundle.network, shown.pixels, named, m) for m in methods}
    arrays = {"rows": np.array(shown.rows), "class": named}
    look.save_arrays("attributions", arrays | {str(m): maps for m, maps in made.items()})
    headings = [
        _heading(true, bundle.classes.names[label], float(found[i, label]))
        for i, (true, label) in enumerate(zip(shown.names, named, strict=True))
    ]
    pictures = [_by_pixel(look, made, headings)]
    if BANDS in made:
        pictures.append(_by_band(look, made[BANDS], named, headings))
    return Section("attributions", "What speaks for the class", f"{MAPS} {told}".strip(), pictures)


def _heading(true: str, named: str, sure: float) -> str:
    verb = f"{true}\n" if true == named else f"{true}\ntaken for {named}\n"
    return f"{verb}probability {sure:.2f}"


def _views(look: Look) -> dict[str, NDArray[Any]]:
    looks = canvas.Stretch.of(look.shown.pixels).apply(look.shown.pixels)
    return {
        "natural colour": looks[..., list(look.bands.natural)],
        "false colour": looks[..., list(look.bands.false_colour)],
    }


def _by_pixel(look: Look, maps: Mapping[Method, Floats], headings: list[str]) -> Picture:
    columns = {trust.named(m): trust.importance(found, m) for m, found in maps.items()}
    figure = figures.maps(
        _views(look),
        columns,
        [name for name, m in zip(columns, maps, strict=True) if m in SIGNED],
        headings,
        "What speaks for the class, pixel by pixel",
        "All bands of a pixel are added up; of gradients, their magnitudes.",
    )
    path = look.save(figure, "attributions.png")
    alt = "Tiles beside maps of what speaks for their class, a method a column."
    return Picture("Pixel by pixel", path, alt)


def _by_band(look: Look, maps: Floats, named: NDArray[np.int64], headings: list[str]) -> Picture:
    network = look.trained.bundle.network
    errors = 100 * attributions.completeness(network, look.shown.pixels, named, maps)
    figure = figures.by_band(
        _views(look),
        maps,
        attributions.band_shares(maps),
        look.bands.names,
        headings,
        "Integrated gradients, band by band",
        "They add up to the class's output less that of the mean tile, up to "
        f"{float(np.median(errors)):.1f} % (median; at most {float(errors.max()):.1f} %).",
    )
    path = look.save(figure, "attributions_bands.png")
    alt = "Tiles beside maps of what each of their bands adds to the output of their class."
    return Picture("Band by band", path, alt)


def of_bands(look: Look, tiles: Tiles) -> Section:
    """How much each band mattered, class by class."""
    network, classes = look.trained.bundle.network, look.trained.bundle.classes
    kept = np.unique(tiles.named)
    maps = attributions.attribute(network, tiles.pixels, tiles.named, BANDS)
    shares = attributions.band_shares(maps)
    lost = attributions.without_bands(network, tiles.pixels, tiles.named)
    look.save_arrays("band_shares", {"class": tiles.named, "shares": shares, "lost": lost})
    spreads = [
        Spread.of("Share of what speaks for or against the class", shares, tiles.named, kept),
        Spread.of("Probability lost without the band", lost, tiles.named, kept),
    ]
    names = [classes.names[label] for label in kept]
    figure = figures.bands(
        spreads,
        names,
        look.bands.names,
        "How much each band mattered",
        f"{len(tiles.pixels)} recognised test tiles. Left: magnitudes of integrated gradients. "
        "Right: what the class's probability loses when the whole band is set to its mean; a "
        "value below zero is a gain.",
    )
    path = look.save(figure, "band_shares.png")
    picture = Picture("Class by class", path, "Table of classes by bands.")
    return Section("bands", "Which band mattered", _of_bands(look, spreads, names), [picture])


def _of_bands(look: Look, spreads: list[Spread], names: list[str]) -> str:
    """What the two tables say, in words, and what the mean tile is taken for."""
    strongest = ", ".join(
        f"{name}: {look.bands.names[int(row.argmax())]}"
        for name, row in zip(names, spreads[1].mean, strict=True)
        if row.max() > 0.05
    )
    told = f"Without it a class loses most: {strongest}. " if strongest else ""
    name, sure = _mean_tile(look)
    return (
        "A share says where the network looks, a loss what it can't do without: bands that say the "
        f"same can stand in for each other. {told}"
        f"Hidden is what is set to the mean of training; a tile that is all mean is taken for "
        f"{name} (probability {sure:.2f}), so that {name} has little to lose."
    )


def _mean_tile(look: Look) -> tuple[str, float]:
    bundle = look.trained.bundle
    mean, _ = bundle.network.band_statistics
    side = bundle.tile_size
    tile = np.broadcast_to(mean.flatten().cpu().numpy(), (1, side, side, len(bundle.bands)))
    found = bundle.probabilities(tile, batch_size=1)[0]
    return bundle.classes.names[int(found.argmax())], float(found.max())


def of_trust(look: Look, methods: list[Method], tiles: Tiles) -> Section:
    """Two tests of each method."""
    network = look.trained.bundle.network
    found = [_tested(look, method, tiles) for method in methods]
    chance = trust.random_removal(network, tiles.pixels, tiles.named)
    arrays: dict[str, Any] = {"class": tiles.named, "random/scores": chance.scores}
    for one in found:
        arrays |= {
            f"{one.method}/correlation": one.sanity.correlation,
            f"{one.method}/shares": np.array(one.sanity.shares),
            f"{one.method}/deletion": one.removal.deletion,
            f"{one.method}/insertion": one.removal.insertion,
        }
    look.save_arrays("trust", arrays)
    figure = figures.trust(
        [_believed(one) for one in found],
        _believed(Trust(methods[0], Sanity((1.0,), np.zeros((1, 1))), chance), "Random order"),
        (trust.UNCHANGED, trust.PARTLY),
        "How far to believe these maps",
        f"Left: {-(-len(tiles.pixels) // 2)} tiles; maps that stay alike while the network forgets "
        f"do not show what it learned; below {trust.PARTLY:g} they changed. Right: "
        f"{len(tiles.pixels)} tiles; patches are taken away, or put back, in the order of a map; "
        "areas below the curves of the class's probability.",
    )
    path = look.save(figure, "trust.png")
    picture = Picture("Two tests", path, "Rank correlations and scores of each method.")
    words = " ".join(one.verdict for one in found)
    text = (
        "A good map changes when the network forgets what it learned, and ranks what matters "
        f"first; 0 is what a random order scores. {words}"
    )
    return Section("trust", "How far to believe these maps", text, [picture])


def _tested(look: Look, method: Method, tiles: Tiles) -> Trust:
    network = look.trained.bundle.network
    maps = attributions.attribute(network, tiles.pixels, tiles.named, method)
    return trust.measured(network, tiles.pixels, tiles.named, method, maps)


def _believed(one: Trust, name: str = "") -> Believed:
    removal: Removal = one.removal
    deleted, inserted = (float(part.mean()) for part in removal.areas)
    return Believed(
        name or trust.named(one.method),
        one.sanity.shares,
        one.sanity.correlation.mean(axis=1).tolist(),
        (deleted, inserted),
        float(removal.scores.mean()),
        one.interval,
    )
