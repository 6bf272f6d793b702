"""The page from its parts: what was measured, what is in the network, what is in the store."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import beside
from pipeline.page import album as albums
from pipeline.page import charts, explained, explorer, facts, grounds, holdings, measured
from pipeline.page.facts import Pace
from pipeline.report import Inside, Picture, Section, Subject, render
from pipeline.split import SPLITS

if TYPE_CHECKING:
    from pipeline.trained import Trained

SCRIPTS = (
    "core.js", "engine.js", "maps.js", "tile.js", "views.js", "confusion.js", "bench.js",
    "explorer.js", "network.js",
)  # fmt: skip
THUMB = 720  # dots across
STEPS = 33  # of a colour map; a script fills in those between


@dataclass(frozen=True, slots=True)
class Thumb:
    """A class map, small."""

    scene: str
    data: str
    width: int
    height: int


def write(
    subject: Subject,
    inside: Inside,
    trained: Trained,
    reports: Path,
    scenes: Iterable[str],
    first: Sequence[int] = (),
    pace: Pace | None = None,
) -> Path:
    """Write the page from the files of the folder.

    Args:
        subject: What it is about.
        inside: What others drew.
        trained: A single network, the member of an ensemble that is looked into.
        reports: The folder.
        scenes: Whose maps are shown.
        first: Rows of the store's index that are walked through the network first.
        pace: How fast training went, if a record of it is at hand.
    """
    page = reports / "index.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    content = gather(subject, inside, trained, reports, list(scenes), first, pace)
    page.write_text(render("page/page.html.j2", **content), encoding="utf-8")
    return page


def gather(
    subject: Subject,
    inside: Inside,
    trained: Trained,
    reports: Path,
    scenes: Sequence[str],
    first: Sequence[int],
    pace: Pace | None,
) -> dict[str, Any]:
    """All that the template asks for."""
    store, tells = trained.store, not subject.reconstructs
    found = measured.measures(reports, subject)
    network = measured.read(reports / "network" / "network.json")
    low, high = albums.stretch(store)
    content = {
        "subject": subject,
        "inside": inside,
        "sections": anchored(inside),
        "network": network,
        "diagram": measured.inline(reports / "network" / "network.svg"),
        "facts": facts.training(store, trained.bundle.params, subject.digest, network, pace),
        "curves": charts.curves(reports / "train" / "curves.csv"),
        "kinds": holdings.kinds(store, low, high),
        "histograms": charts.histograms(store.looks),
        "splits": [split for split in SPLITS if store.count(split)],
        **_ingested(measured.read(reports / "ingest.json")),
        **_told(subject, found, reports),
        **_mapped(measured.maps(reports / "maps", scenes) if tells else []),
        **_numbers(trained, reports, first, tells=tells),
        "scripts": SCRIPTS,
        "colour_maps": colour_maps(),
    }
    return content | {"views": _views(content)}


def anchored(inside: Inside) -> list[tuple[str, Section]]:
    """Sections of the view of that name, each with an anchor that no other has."""
    found: dict[str, Section] = {}
    for section in inside.sections:
        if section.key != "pitfalls":  # which the data show
            again = sum(one.key == section.key for one in found.values())
            found[f"{section.key}-{again + 1}" if again else section.key] = section
    return list(found.items())


def _ingested(ingest: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "ingest": ingest,
        "dropped": holdings.dropped(ingest),
        "leakage": (ingest or {}).get("leakage"),
    }


def _told(subject: Subject, found: dict[str, Any] | None, reports: Path) -> dict[str, Any]:
    """What was measured, and how other methods do."""
    tells = not subject.reconstructs and found is not None
    rows = beside.rows(reports) if tells else []
    ranked = measured.ranked(found, subject.classes) if found and tells else []
    ends = [row.interval[0] if row.interval else row.accuracy for row in rows]
    return {
        "measures": found,
        "baselines": rows,
        "floor": measured.floor(ends),
        "ranked": ranked,
        "least": measured.floor(measured.lowest(row) for _, _, row in ranked),
        "scores": measured.scores(reports, found) if found and tells else None,
        "ensemble": measured.votes(found, subject),
        "matrix": measured.matrix(reports / "confusion.csv", subject.classes)
        if not subject.reconstructs
        else None,
        "mistakes": measured.mistakes(reports / "figures") if tells else [],
    }


def _mapped(maps: list[Picture]) -> dict[str, Any]:
    return {"maps": maps, "thumb": thumb(maps[0]) if maps else None}


def _numbers(
    trained: Trained, reports: Path, first: Sequence[int], *, tells: bool
) -> dict[str, Any]:
    """What the scripts read: each part under the name that they ask for."""
    store, bundle = trained.store, trained.bundle
    heard = albums.measured(store, reports) if tells else None
    album = albums.choose(store, first or _spread(trained), heard)
    pixels = albums.load(store, album.rows)
    low, high = albums.stretch(store)
    program = explorer.payload(bundle.network, pixels, temperature=bundle.temperature)
    numbers = {
        "facts": {"classes": list(bundle.classes.names), "colours": list(bundle.classes.colours)},
        "album": albums.payload(store, album, pixels),
        "grounds": grounds.payload(grounds.grounds(store, album.rows.tolist(), low, high)),
        "attributions": explained.payload(bundle.network, pixels, album) if tells else None,
        "program": program,
    }
    heavy = [step["name"] for step in program.get("steps", ()) if step["op"] == "stored"]
    return {"numbers": numbers, "stored": heavy, "told": _room(album)}


def _spread(trained: Trained, count: int = 24) -> list[int]:
    """Rows of some tiles of a split, where nobody named any."""
    split = next(s for s in ("test", "validation", "train") if trained.store.count(s))
    own = trained.store.split_range(split)
    some = np.linspace(own.start, own.stop - 1, min(count, len(own))).astype(int)
    return [int(row) for row in some]


def _room(album: albums.Album) -> str:
    """How many of the tiles the page holds."""
    if album.evidence is None:
        return ""
    shown, wrong = album.shown_wrong, album.wrong
    right = int((album.told >= 0).sum()) - shown
    part = "all" if shown == wrong else f"{shown:,} of"
    return (
        f"This page holds {part} {wrong:,} tiles that were told wrongly, and {right:,} of "
        f"{len(album.evidence.ids) - wrong:,} that were told rightly: the least sure and the "
        "surest of each class."
    )


def _views(content: dict[str, Any]) -> list[tuple[str, str]]:
    """Keys and titles of the views that have something to show."""
    views = [
        ("overview", "Overview", True),
        ("confusion", "Confusion", content["matrix"]),
        ("measures", "Measures", content["measures"] and content["ranked"]),
        ("maps", "Maps", content["maps"]),
        ("network", "Network", content["network"]),
        ("explorer", "Explorer", True),
        ("inside", "Inside", True),
        ("data", "Data", True),
    ]
    return [(key, title) for key, title, wanted in views if wanted]


def thumb(picture: Picture) -> Thumb:
    """A picture made small."""
    from PIL import Image

    with Image.open(picture.path) as whole:
        flat = whole.convert("RGB")
        flat.thumbnail((THUMB, THUMB))
        file = io.BytesIO()
        flat.save(file, "jpeg", quality=85, optimize=True)
    return Thumb(picture.heading, grounds.url("jpeg", file), flat.width, flat.height)


def colour_maps() -> dict[str, list[list[int]]]:
    """The colours of every figure, at even steps."""
    import matplotlib

    from pipeline.figures.canvas import AMOUNT, SIGNED

    at = np.linspace(0, 1, STEPS)
    return {
        key: np.rint(255 * matplotlib.colormaps[name](at)[:, :3]).astype(int).tolist()
        for key, name in (("amount", AMOUNT), ("signed", SIGNED))
    }
