"""``python -m pipeline augment``, and the page on what it draws."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray

from docs.augmentation import PICTURES
from pipeline.commands import augment as command
from pipeline.commands.augment import AMOUNTS, DRAWS, Studio, examples, shown
from pipeline.config import compose
from pipeline.figures.distorted import Row, rows_of_draws, stretch_of
from pipeline.schema import AugmentSection, TrainSection
from pipeline.store import Store
from pipeline.types import Bands, Classes
from tests import little
from tests.conftest import ROOT

NONE = AugmentSection(flips=False, quarter_turns=False, brightness=0, contrast=0, noise=0)
TRAIN = TrainSection(
    epochs=1, min_steps=0, batch_size=8, seed=0, monitor="loss", patience=None, average=0.0
)
PAGE = (ROOT / "docs" / "augmentation.md").read_text(encoding="utf-8")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return little.store(tmp_path / "data" / "tiles")


def test_every_distortion_has_its_amount_in_words() -> None:
    assert set(AMOUNTS) == set(AugmentSection.model_fields)


def test_a_picture_for_each_class(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    command.OUT.mkdir(parents=True)
    (command.OUT / "7_gone.png").touch()  # of a store that had such a class
    command.run(shown(), TRAIN)
    names = ["0_building.png", "1_trees.png", "2_water.png"]
    assert sorted(path.name for path in command.OUT.iterdir()) == names
    first = (command.OUT / names[0]).read_bytes()
    assert capsys.readouterr().out == "Wrote 3 pictures in reports/augment.\n"
    command.run(shown(), TRAIN)
    assert (command.OUT / names[0]).read_bytes() == first


def test_tiles_without_labels_and_odd_names_make_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    monkeypatch.setattr(Studio, "alone", lambda *_: ())
    little.store(tmp_path / "data" / "tiles", Classes(()))
    command.run(NONE, TRAIN)
    assert [path.name for path in command.OUT.iterdir()] == ["0_tile.png"]
    little.store(tmp_path / "data" / "tiles", Classes(("a/b", "..", "ü")))
    command.run(NONE, TRAIN)
    assert {path.name for path in command.OUT.iterdir()} == {"0_a_b.png", "1__.png", "2_ü.png"}


def draws(section: AugmentSection, store: Store, name: str = "trees") -> NDArray[Any]:
    return Studio(store, examples(store), name, seed=0).draws(section)


def test_draws_show_the_tile_and_then_only_what_differs(store: Store) -> None:
    tile = examples(store)["trees"]
    made = draws(NONE.model_copy(update={"flips": True}), store)
    ways = [tile, tile[::-1], tile[:, ::-1], tile[::-1, ::-1]]
    assert np.array_equal(made[0], tile)
    assert sorted(one.tobytes() for one in made) == sorted(
        np.ascontiguousarray(way, np.float32).tobytes() for way in ways
    )
    assert len(draws(NONE, store)) == 1
    # One tile in fifty is scratched: those are shown, and no other.
    rare = draws(NONE.model_copy(update={"scratches": 0.02}), store)
    assert len(rare) == 1 + DRAWS
    assert all((one != tile).any() for one in rare[1:])


def test_mixtures_are_of_the_tile_and_of_tiles_of_other_classes(store: Store) -> None:
    tiles = examples(store)
    made = draws(NONE.model_copy(update={"cutmix": 1.0}), store)
    assert len(made) == 1 + DRAWS
    for one in made[1:]:
        whose = [(one == tile).all(axis=-1) for tile in tiles.values()]
        assert np.logical_or.reduce(whose).all()
        assert not any(where.all() for where in whose)


def test_what_is_off_is_shown_as_in_strong_and_said_to_be_off(store: Store) -> None:
    section = NONE.model_copy(update={"noise": 0.2})
    studio = Studio(store, examples(store), "water", seed=0)
    rows = {row.heading: row for row in studio.alone(section, shown())}
    assert list(rows) == list(AMOUNTS)
    assert [name for name, row in rows.items() if not row.faint] == ["noise"]
    assert rows["noise"].note == "up to 0.2 deviations"
    assert rows["haze"].note == f"off: up to {100 * shown().haze:g} % of the light"
    assert all(len(row.tiles) > 1 for row in rows.values())


@pytest.mark.parametrize(("bands", "panels"), [(1, 3), (2, 3), (4, 6), (13, 6)])
def test_any_number_of_bands_is_drawn_in_the_views_that_differ(bands: int, panels: int) -> None:
    names = Bands(("red", "green", "blue", "nir", *(f"b{i}" for i in range(9)))[:bands])
    rng = np.random.default_rng(0)
    row = Row("noise", "a little", rng.integers(0, 9, (3, 6, 6, bands)))
    mean, std = np.full(bands, 4.0), np.array([0.0, *[2.0] * (bands - 1)])
    figure = rows_of_draws([row], names, stretch_of(mean, std), "Title")
    assert len(figure.axes[0].images) == panels
    told = " ".join(text.get_text() for text in figure.axes[0].texts + figure.texts)
    assert ("Tile: red in shades of grey." in " ".join(told.split())) is (bands == 1)


def test_what_changes_nothing_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one band none can be lost."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    store = little.store(tmp_path / "four")
    grey = little.rearranged(store, tmp_path / "data" / "tiles", Bands(("nir",)), little.CLASSES)
    monkeypatch.setattr(command, "SPLIT", "test")
    drawn: list[tuple[list[str], str]] = []

    def draw(rows: list[Row], bands: Bands, stretch: Any, title: str, caption: str) -> Any:
        drawn.append(([row.heading for row in rows], caption))
        return rows_of_draws(rows, bands, stretch, title, caption)

    monkeypatch.setattr(command, "rows_of_draws", draw)
    command.run(shown(), TRAIN)
    assert len(drawn) == len(grey.classes)
    for headings, caption in drawn:
        assert headings == [*(n for n in AMOUNTS if n != "band_dropout"), "all that are on"]
        assert caption.endswith("Not shown, as it changes nothing of this tile: band_dropout.")


def test_a_shift_of_two_deviations_is_still_within_the_stretch() -> None:
    mean, std = np.array([100.0]), np.array([10.0])
    seen = stretch_of(mean, std).apply(np.array([[75.0], [80.0], [100.0], [120.0], [125.0]]))
    assert seen.flatten().tolist() == pytest.approx([0, 0.1, 0.5, 0.9, 1])


def rows_of_the_page() -> dict[str, list[str]]:
    found = re.findall(r"^\| `(\w+)` \| .* \| (\S+) \| (\S+) \|$", PAGE, flags=re.M)
    return {name: list(amounts) for name, *amounts in found}


def _number(text: str) -> Any:
    return text == "true" if text in ("true", "false") else float(text)


def test_the_page_names_every_distortion_with_the_amounts_of_conf() -> None:
    said = rows_of_the_page()
    assert list(said) == list(AMOUNTS)
    composed = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))["augment"]
    strong = yaml.safe_load(compose(["augment=strong"]))["augment"]
    default, most = map(AugmentSection.model_validate, (composed, strong))
    for name, amounts in said.items():
        assert [_number(text) for text in amounts] == [getattr(default, name), getattr(most, name)]


def test_the_page_shows_every_distortion_once() -> None:
    shown = re.findall(r"!\[[^]]*\]\(([^)]+)\)", PAGE)
    assert [Path("docs") / name for name in shown] == list(PICTURES)
    assert all((ROOT / path).is_file() for path in PICTURES)
    assert [name for _, _, names in PICTURES.values() for name in names] == list(AMOUNTS)
