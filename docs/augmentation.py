"""``python -m docs.augmentation``: the pictures of docs/augmentation.md, of the sample's tiles."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from docs.figures import shrink
from pipeline.commands.augment import Studio, examples, shown
from pipeline.figures import canvas
from pipeline.figures.distorted import rows_of_draws, stretch_of
from pipeline.store import Store

WIDTH = 1200  # pixels
PAGE = Path("docs/augmentation.md")
# Picture -> title, the class whose tile is shown, and the distortions.
PICTURES = {
    Path("docs/images/augment_place.jpg"): (
        "Where the tile lies", "road", ("flips", "quarter_turns", "rotation", "zoom", "shift"),
    ),
    Path("docs/images/augment_light.jpg"): (
        "The light", "building",
        ("contrast", "band_contrast", "brightness", "band_brightness", "haze"),
    ),
    Path("docs/images/augment_sensor.jpg"): (
        "The sensor", "grassland", ("noise", "scratches", "dead_lines", "band_dropout"),
    ),
    Path("docs/images/augment_mixtures.jpg"): (
        "Two tiles in one", "trees", ("mixup", "cutmix"),
    ),
}  # fmt: skip


def main() -> None:
    """Draw them anew."""
    store, amounts = Store.open(), shown()
    tiles = examples(store)
    for target, (title, name, distortions) in PICTURES.items():
        studio = Studio(store, tiles, name, seed=0)
        rows = [row for row in studio.alone(amounts, amounts) if row.heading in distortions]
        figure = rows_of_draws(rows, store.bands, stretch_of(store.mean, store.std), title)
        with TemporaryDirectory() as folder:
            shrink(canvas.save(figure, Path(folder) / "picture.png"), target, WIDTH)


if __name__ == "__main__":
    main()
