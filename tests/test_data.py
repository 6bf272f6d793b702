from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.augment import Augment
from pipeline.data import Batch, PlainBatches, TrainingBatches
from pipeline.errors import TrainingError
from pipeline.feeding import Resident, Streamed, Tiles
from pipeline.order import Order, borders, shares, steps
from pipeline.schema import AugmentSection
from pipeline.tasks.classifier import Counts
from tests import little

CPU = torch.device("cpu")
NONE = AugmentSection(flips=False, quarter_turns=False, brightness=0, contrast=0, noise=0)
NOISE = AugmentSection(flips=True, quarter_turns=True, brightness=0, contrast=0, noise=1)


def split(count: int, dtype: Any = np.uint8, classes: int = 3) -> Resident:
    """Tiles whose first pixel is their row."""
    pixels = np.random.default_rng(0).integers(0, 200, (count, 4, 4, 2)).astype(dtype)
    pixels[:, 0, 0, 0] = np.arange(count)
    return Resident(pixels, np.arange(count) % classes, CPU)


def training(
    tiles: Resident, augment: AugmentSection = NONE, epoch: int = 0, **where: Any
) -> list[Batch]:
    batches = TrainingBatches(
        tiles, Augment(augment, [0, 0], [1, 1]), np.array([1.0, 2.0, 5.0]),
        batch_size=4, seed=1, epoch=epoch, **where,
    )  # fmt: skip
    made = list(batches)
    assert len(made) == len(batches)
    return made


def laid(epoch: int, seed: int = 1, **where: Any) -> dict[int, int]:
    """Row of a tile -> which of its four ways it is shown in; ways are numbered as in ``flip``."""
    pixels = np.zeros((20, 4, 4, 2), np.uint8)
    pixels[:, 1, 1], pixels[..., 1] = 100, np.arange(20)[:, None, None]
    batches = TrainingBatches(
        Resident(pixels, np.arange(20) % 3, CPU),
        Augment(NONE.model_copy(update={"flips": "alternate"}), [0, 0], [1, 1]),
        np.ones(3), batch_size=6, seed=seed, epoch=epoch, **where,
    )  # fmt: skip
    tiles = torch.cat([batch.pixels for batch in batches])
    marks = tiles[:, 0].flatten(1).argmax(dim=1)
    return {
        int(row): 2 * int(mark // 4 == 2) + int(mark % 4 == 2)
        for row, mark in zip(tiles[:, 1, 0, 0], marks, strict=True)
    }


def test_flips_by_turns_show_all_four_ways_in_four_epochs() -> None:
    epochs = [laid(epoch) for epoch in range(5)]
    for row in range(20):
        assert {ways[row] for ways in epochs[:4]} == {0, 1, 2, 3}
        assert epochs[4][row] == epochs[0][row]
    assert set(epochs[0].values()) == {0, 1, 2, 3}  # each tile begins with one of its own
    assert laid(0, seed=2) != epochs[0]


def test_flips_by_turns_are_the_same_on_any_number_of_ranks() -> None:
    parts = [laid(1, rank=rank, ranks=2) for rank in (0, 1)]
    assert parts[0] | parts[1] == laid(1)


EVERY = AugmentSection(
    flips=True, quarter_turns=True, rotation=30, zoom=0.2, shift=0.1, contrast=0.2,
    band_contrast=0.2, brightness=1, band_brightness=0.2, haze=0.3, noise=1, scratches=0.5,
    dead_lines=0.5, band_dropout=0.2,
)  # fmt: skip


@pytest.mark.parametrize("mixed", [{}, {"mixup": 0.5}, {"cutmix": 1.0}])
@pytest.mark.parametrize("ranks", [2, 3])
def test_what_becomes_of_a_tile_is_the_same_on_any_number_of_ranks(
    ranks: int, mixed: dict[str, float]
) -> None:
    """Of 22 tiles the last batch is a smaller one, which the ranks can't share evenly."""
    tiles, section = split(22), EVERY.model_copy(update=mixed)
    augment, weights = Augment(section, [90, 90], [60, 60]), np.array([1.0, 2.0, 5.0])
    for epoch in range(2):
        parts = [
            list(
                TrainingBatches(tiles, augment, weights, batch_size=12 // ranks, seed=1,
                                epoch=epoch, rank=rank, ranks=ranks)
            )
            for rank in range(ranks)
        ]  # fmt: skip
        whole = TrainingBatches(tiles, augment, weights, batch_size=12, seed=1, epoch=epoch)
        for step, batch in enumerate(whole):
            for rank in range(ranks):
                own, part = slice(rank, None, ranks), parts[rank][step]
                torch.testing.assert_close(part.pixels, batch.pixels[own], rtol=0, atol=1e-3)
                assert torch.equal(part.labels, batch.labels[own])
                if batch.mixture is not None and part.mixture is not None:
                    for one, other in zip(part.mixture, batch.mixture, strict=True):
                        assert torch.equal(one, other[own])
                assert (part.mixture is None) is (not mixed)


def test_streamed_tiles_are_mixed_with_those_of_other_ranks_too(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.order.WINDOW_BYTES", 5 * 12 * 12 * 4)  # groups of ten tiles,
    monkeypatch.setattr("pipeline.order.GROUP_WINDOWS", 2)  # which batches of eight straddle
    store = little.store(tmp_path / "tiles")
    resident = Resident(store.pixels("train"), store.labels("train"), CPU)
    augment = Augment(EVERY.model_copy(update={"mixup": 0.5}), [90] * 4, [60] * 4)
    ways: list[Tiles] = [resident, Streamed(store, "train", CPU)]
    each = [
        list(TrainingBatches(tiles, augment, np.ones(3), batch_size=4, seed=1, epoch=0, rank=1,
                             ranks=2))
        for tiles in ways
    ]  # fmt: skip
    assert len(each[0]) == 11  # the last two tiles join a batch
    for one, other in zip(*each, strict=True):
        assert torch.equal(one.pixels, other.pixels)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32, np.float32])
def test_gathers_keep_every_value_of_every_type(dtype: Any) -> None:
    top = 3e9 if dtype == np.uint32 else 40000 if dtype in (np.uint16, np.float32) else 120
    pixels = (np.arange(5 * 2 * 2 * 3).reshape(5, 2, 2, 3) + top).astype(dtype)
    tiles, labels = Resident(pixels, np.arange(5), CPU).take(np.array([3, 0, 3]))
    assert labels.tolist() == [3, 0, 3]
    assert tiles.dtype == torch.float32
    assert tiles.is_contiguous(memory_format=torch.channels_last)
    expected = pixels[[3, 0, 3]].astype(np.float32).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(tiles.numpy(), expected)


def test_a_read_only_map_of_a_file_will_do(tmp_path: Any) -> None:
    np.save(tmp_path / "a.npy", np.ones((3, 2, 2, 1), np.uint8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert Resident(mapped, np.zeros(3), CPU).take(np.array([2]))[0].sum() == 4


@settings(max_examples=200, deadline=None)
@given(
    tiles=st.integers(1, 300),
    batch=st.integers(1, 40),
    ranks=st.integers(1, 5),
    e=st.integers(0, 9),
)
def test_shares_cover_each_tile_once_on_one_rank(
    tiles: int, batch: int, ranks: int, e: int
) -> None:
    if tiles < ranks:
        with pytest.raises(TrainingError, match=r"trainer\.devices"):
            steps(tiles, batch, ranks)
        return
    parts = [
        list(shares(Order(tiles, 32, 0, e), batch_size=batch, rank=rank, ranks=ranks))
        for rank in range(ranks)
    ]
    count = steps(tiles, batch, ranks)
    assert {len(part) for part in parts} == {count}
    seen = np.concatenate([rows for part in parts for _, rows in part])
    assert sorted(seen.tolist()) == list(range(tiles))
    for step in range(count):
        sizes = [len(part[step][1]) for part in parts]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
        whole = np.concatenate([part[step][1] for part in parts])
        assert set(whole.tolist()) == set(parts[0][step][0].tolist())


def test_a_last_batch_too_small_for_all_ranks_joins_the_one_before() -> None:
    assert steps(20, 4, 2) == 3  # 8, 8, 4
    assert steps(19, 4, 2) == 2  # 8, 11
    assert steps(9, 8, 1) == 1
    assert steps(11, 8, 1) == 1  # less than half a batch
    assert steps(12, 8, 1) == 2
    for tiles in range(20, 60):  # one process of twice the batch takes the same batches
        assert borders(tiles, 4, 2) == borders(tiles, 8, 1)


def test_epochs_differ_and_repeat() -> None:
    def order(epoch: int, seed: int = 0) -> list[int]:
        batches = shares(Order(50, 32, seed, epoch), batch_size=8)
        return [int(row) for _, rows in batches for row in rows]

    assert order(0) == order(0)
    assert order(0) != order(1)
    assert order(0) != order(0, seed=1)


def test_batches_are_a_function_of_seed_epoch_and_step() -> None:
    tiles = split(22)
    first, again = training(tiles, NOISE), training(tiles, NOISE)
    other = training(tiles, NOISE, epoch=1)
    for one, two, three in zip(first, again, other, strict=True):
        assert torch.equal(one.pixels, two.pixels)
        assert torch.equal(one.labels, two.labels)
        assert not torch.equal(one.pixels, three.pixels)


def test_labels_stay_with_their_pixels() -> None:
    for batch in training(split(22)):
        assert torch.equal(batch.pixels[:, 0, 0, 0].long() % 3, batch.labels)


def test_the_mean_over_ranks_of_share_times_own_mean_is_the_global_mean() -> None:
    tiles, weights = split(23), torch.tensor([1.0, 2.0, 5.0])
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(23, 3, generator=random)

    def loss(batch: Batch) -> torch.Tensor:
        rows = batch.pixels[:, 0, 0, 0].long()
        return torch.nn.functional.cross_entropy(
            logits[rows], batch.labels, weight=weights, label_smoothing=0.1
        )

    parts = [training(tiles, rank=rank, ranks=3) for rank in range(3)]
    for step in zip(*parts, strict=True):
        mean = sum(batch.share * loss(batch) for batch in step) / 3
        whole = Batch(torch.cat([b.pixels for b in step]), torch.cat([b.labels for b in step]), 1.0)
        torch.testing.assert_close(mean, loss(whole))


def test_one_rank_has_the_whole_share() -> None:
    assert {batch.share for batch in training(split(22))} == {1.0}


@settings(max_examples=60, deadline=None)
@given(tiles=st.integers(1, 90), batch=st.integers(1, 40), ranks=st.integers(1, 5))
def test_plain_batches_are_disjoint_and_counts_over_ranks_exact(
    tiles: int, batch: int, ranks: int
) -> None:
    whole, seen = split(tiles), []
    answers = torch.from_numpy(np.random.default_rng(tiles).integers(0, 3, tiles))
    cells = torch.zeros(9, dtype=torch.int64)
    for rank in range(ranks):
        batches = PlainBatches(whole, batch_size=batch, rank=rank, ranks=ranks)
        counts = Counts(3, CPU)
        made = list(batches)
        assert len(made) == len(batches)
        for one in made:
            rows = one.pixels[:, 0, 0, 0].long()
            seen += rows.tolist()
            outputs = torch.nn.functional.one_hot(answers[rows], 3).float()
            counts.add(torch.tensor(1.0), torch.tensor(float(len(rows))), outputs, one.labels)
        counts.settle()
        cells += counts.cells
    assert seen == list(range(tiles))
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for label, answer in zip(whole.labels.tolist(), answers.tolist(), strict=True):
        expected[label, answer] += 1
    assert torch.equal(cells.reshape(3, 3), expected)


def test_of_more_ranks_than_tiles_some_validate_a_batch_of_none() -> None:
    (one,) = PlainBatches(split(1), batch_size=5, rank=1, ranks=2)
    assert len(one.pixels) == len(one.labels) == 0
