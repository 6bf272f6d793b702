from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.io import savemat

from pipeline.errors import BandError, ClassError, SourceError
from pipeline.schema import SatSource, TilesSection
from pipeline.sources.opening import look
from tests.imagery import noise

NAMES = ("building", "barren_land", "trees", "grassland", "road", "water")
TRAIN, TEST = noise(30 * 28, 28, 4, seed=1), noise(12 * 28, 28, 4, seed=2)


def _source(path: Path, **changes: Any) -> SatSource:
    bands = ["red", "green", "blue", "nir"]
    return SatSource(kind="sat", path=str(path), root=str(path), **({"bands": bands} | changes))


def _labels(count: int) -> NDArray[np.float64]:
    return np.eye(6)[np.arange(count) % 6]


def _variables() -> dict[str, Any]:
    notes = np.empty((6, 2), object)
    for place, label in enumerate((3, 0, 5, 1, 4, 2)):  # out of order, as nothing forbids
        notes[place] = [np.eye(6, dtype=np.uint8)[[label]], NAMES[label]]
    return {
        "train_x": TRAIN.reshape(30, 28, 28, 4).transpose(1, 2, 3, 0),
        "train_y": _labels(30).T,
        "test_x": TEST.reshape(12, 28, 28, 4).transpose(1, 2, 3, 0),
        "test_y": _labels(12).T,
        "annotations": notes,
    }


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    savemat(tmp_path / "sat.mat", _variables(), do_compression=True)
    return tmp_path / "sat.mat"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, pixels in (("train", TRAIN), ("test", TEST)):
        lines = pixels.reshape(-1, 28 * 28 * 4)
        np.savetxt(tmp_path / f"X_{name}_sat6.csv", lines, "%d", ",")
        np.savetxt(tmp_path / f"y_{name}_sat6.csv", _labels(len(lines)), "%d", ",")
    notes = "".join(
        ",".join(str(int(i == label)) for i in range(6)) + f",{name}\n"
        for label, name in enumerate(NAMES)
    )
    (tmp_path / "sat6annotations.csv").write_text(notes)
    return tmp_path


def _check(path: Path, small: pytest.MonkeyPatch) -> None:
    """All tiles come in order, whole, with their labels and their official split."""
    for module in ("sat_mat", "sat_csv"):  # several batches
        small.setattr(f"pipeline.sources.{module}.BATCH_BYTES", 30_000)
    plan = look(_source(path), TilesSection(size=28))
    assert plan.classes.names == NAMES
    assert plan.official
    for task, pixels, split in zip(plan.tasks, (TRAIN, TEST), ("train", "test"), strict=True):
        batches = list(task.read())
        assert len(batches) > 1
        got = np.concatenate([batch.pixels for batch in batches])
        np.testing.assert_array_equal(got, pixels.reshape(-1, 28, 28, 4))
        rows = [row for batch in batches for row in batch.facts.to_pylist()]
        assert [row["label"] for row in rows] == [i % 6 for i in range(len(rows))]
        assert [row["id"] for row in rows] == [f"{split}-{i:06d}" for i in range(len(rows))]
        assert {row["official"] for row in rows} == {split}


def test_mat(mat: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _check(mat, monkeypatch)


def test_csv(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _check(folder, monkeypatch)


def test_a_small_file_of_shares_of_255_has_no_official_split(tmp_path: Path) -> None:
    pixels = TRAIN.reshape(30, 28, 28, 4)
    labels = np.eye(4, dtype=np.uint8)[np.arange(30) % 4]
    savemat(tmp_path / "small.mat", {"image": pixels / 255.0, "label": labels})
    plan = look(_source(tmp_path / "small.mat"), TilesSection(size=28))
    (batch,) = plan.tasks[0].read()
    assert not plan.official
    assert plan.classes.names == ("barren_land", "trees", "grassland", "none")
    np.testing.assert_array_equal(batch.pixels, pixels)
    assert batch.facts["official"].null_count == 30


@pytest.mark.parametrize(
    ("variable", "place", "value", "message"),
    [
        ("train_y", (2, 7), 1.0, r"single 1 a tile, got \[0.*\] for tile 7 in train_y of sat\.mat"),
        ("test_y", (3, 3), 0.5, r"for tile 3 in test_y"),
        ("train_x", (0, 0, 0, 4), 0.5, r"steps of 1/255, got 0\.5 in train_x of sat\.mat"),
        ("train_x", (0, 0, 0, 4), 300, r"from 0 to 255.*got 300\.0 in train_x"),
    ],
)
def test_wrong_values_are_named(
    tmp_path: Path, variable: str, place: tuple[int, ...], value: float, message: str
) -> None:
    variables = _variables()
    variables[variable] = variables[variable].astype(float)
    variables[variable][place] = value
    savemat(tmp_path / "sat.mat", variables)
    plan = look(_source(tmp_path / "sat.mat"), TilesSection(size=28))
    with pytest.raises(SourceError, match=message):
        [batch for task in plan.tasks for batch in task.read()]


def test_shapes_that_do_not_fit_are_told(mat: Path) -> None:
    with pytest.raises(SourceError, match=r"64 x 64 pixels, got 28 x 28 .*tiles\.size=28"):
        look(_source(mat), TilesSection(size=64))
    with pytest.raises(BandError, match="Expected 3 bands, got 4 in train_x"):
        look(_source(mat, bands=["r", "g", "b"]), TilesSection(size=28))
    with pytest.raises(ClassError, match=r"Expected 6 class names.* got 2: a, b"):
        look(_source(mat, classes=["a", "b"]), TilesSection(size=28))


def test_files_that_are_none_are_named(tmp_path: Path, mat: Path) -> None:
    torn = tmp_path / "torn.mat"
    torn.write_bytes(mat.read_bytes()[:5000])
    with pytest.raises(SourceError, match=r"torn\.mat"):
        [
            batch
            for task in look(_source(torn), TilesSection(size=28)).tasks
            for batch in task.read()
        ]
    hdf = tmp_path / "new.mat"
    hdf.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400))
    with pytest.raises(SourceError, match=r"version 7\.3 \(HDF5\) in .*new\.mat"):
        look(_source(hdf), TilesSection(size=28))
    savemat(tmp_path / "other.mat", {"a": np.ones(3)})
    with pytest.raises(SourceError, match=r"train_x.*got a in .*other\.mat"):
        look(_source(tmp_path / "other.mat"), TilesSection(size=28))
    with pytest.raises(SourceError, match=r"nothing at .*nowhere"):
        look(_source(tmp_path / "nowhere"), TilesSection(size=28))


@pytest.mark.parametrize("wrong", ["300", "-1", "x", ""])
def test_a_wrong_number_in_a_csv_is_named(folder: Path, wrong: str) -> None:
    path = folder / "X_train_sat6.csv"
    lines = path.read_text().splitlines()
    lines[3] = wrong + "," + lines[3].split(",", 1)[1]
    path.write_text("\n".join(lines) + "\n")
    plan = look(_source(folder), TilesSection(size=28))
    with pytest.raises(SourceError, match=r"3136 whole numbers .*X_train_sat6\.csv"):
        list(plan.tasks[0].read())


@pytest.mark.parametrize("keep", [29, 31])
def test_a_csv_with_another_number_of_labels_is_refused(folder: Path, keep: int) -> None:
    np.savetxt(folder / "y_train_sat6.csv", _labels(keep), "%d", ",")
    plan = look(_source(folder), TilesSection(size=28))
    with pytest.raises(SourceError, match=rf"got {keep} labels in y_train_sat6\.csv"):
        list(plan.tasks[0].read())


def test_a_folder_without_the_csv_files_is_told(folder: Path) -> None:
    (folder / "y_test_sat6.csv").unlink()
    with pytest.raises(SourceError, match=r"one file y_test_sat\*\.csv in .*, got none"):
        look(_source(folder), TilesSection(size=28))


def test_annotations_that_are_none_are_told(folder: Path) -> None:
    (folder / "sat6annotations.csv").write_text("building,barren_land\n")
    with pytest.raises(SourceError, match=r"got 'building,barren_land' in .*annotations\.csv"):
        look(_source(folder), TilesSection(size=28))


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "counts"),
    [("eurosat-as-sat6.mat", (540, 180)), ("sat4-100.mat", (100,))],
)
def test_real_files(real_data: Path, name: str, counts: tuple[int, ...]) -> None:
    plan = look(_source(real_data / "sat" / name), TilesSection(size=28))
    batches = [list(task.read()) for task in plan.tasks]
    assert tuple(sum(len(batch.pixels) for batch in part) for part in batches) == counts
    assert all(batch.pixels.dtype == np.uint8 for part in batches for batch in part)


def test_labels_are_left_unread_where_none_are_wanted(mat: Path, folder: Path) -> None:
    bare = {name: value for name, value in _variables().items() if name.endswith("_x")}
    savemat(mat, bare)
    for name in ("train", "test"):
        (folder / f"y_{name}_sat6.csv").unlink()
    for path in (mat, folder):
        plan = look(_source(path, labels="none"), TilesSection(size=28))
        assert plan.classes.names == ()
        batches = [batch for task in plan.tasks for batch in task.read()]
        pixels = np.concatenate([batch.pixels for batch in batches])
        np.testing.assert_array_equal(pixels.reshape(-1, 28, 4), np.concatenate([TRAIN, TEST]))
        facts = [row for batch in batches for row in batch.facts.to_pylist()]
        assert [row["official"] for row in facts] == ["train"] * 30 + ["test"] * 12
        assert {row["label"] for row in facts} == {0}
        with pytest.raises(SourceError):
            look(_source(path), TilesSection(size=28))
