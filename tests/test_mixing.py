from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from pipeline.augment import Augment
from pipeline.data import Batch, TrainingBatches
from pipeline.feeding import Resident
from pipeline.mixing import mix, plan
from pipeline.schema import AugmentSection, Loss
from tests.test_classifier import classifier

CPU = torch.device("cpu")
SIZE = (10, 14)


def section(**changes: float) -> AugmentSection:
    none: dict[str, Any] = {"brightness": 0, "contrast": 0, "noise": 0}
    return AugmentSection(flips=False, quarter_turns=False, **none, **changes)


def plain_tiles(n: int) -> torch.Tensor:
    """Tile i is i in every pixel."""
    return torch.arange(n, dtype=torch.float32)[:, None, None, None].expand(n, 3, *SIZE)


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_mixup_blends_each_tile_with_its_partner_in_its_share(alpha: float) -> None:
    how = plan(section(mixup=alpha), 500, SIZE, 0, 1)
    pixels, mixture = mix(plain_tiles(500), torch.arange(500), how)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    shares = torch.from_numpy(how.shares).float()
    expected = shares * torch.arange(500) + (1 - shares) * mixture.labels
    torch.testing.assert_close(pixels, expected[:, None, None, None].expand_as(pixels))
    assert pixels.min() >= 0
    assert pixels.max() <= 499
    assert sorted(mixture.labels.tolist()) == list(range(500))
    # Of Beta(a, a) the mean is 1/2, and the variance 1 / (4 (2 a + 1)).
    assert how.shares.mean() == pytest.approx(0.5, abs=0.06)
    assert how.shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.15)


def test_the_share_of_cutmix_is_the_share_of_pixels() -> None:
    how = plan(section(cutmix=1.0), 300, SIZE, 0, 1)
    pixels, mixture = mix(plain_tiles(300), torch.arange(300), how)
    assert pixels.is_contiguous(memory_format=torch.channels_last)
    own = torch.arange(300)
    for tile, mine, other, share in zip(pixels, own, mixture.labels, mixture.shares, strict=True):
        assert set(tile.unique().tolist()) <= {float(mine), float(other)}
        if mine != other:
            assert (tile == mine).float().mean().item() == pytest.approx(share.item(), abs=1e-6)
            rows, columns = (tile[0] == other).nonzero().unbind(1)
            if len(rows):  # what the partner gave is a rectangle
                sides = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
                assert len(rows) == sides
    assert 0.5 < how.shares.mean() < 0.8  # boxes are cut at the edges
    assert how.shares.min() < 0.2


def test_of_both_each_batch_takes_one() -> None:
    cut = [plan(section(mixup=0.2, cutmix=1.0), 8, SIZE, 0, step).boxes for step in range(200)]
    assert 70 < sum(boxes is not None for boxes in cut) < 130


def test_the_same_keys_give_the_same_plan_and_others_another() -> None:
    first, again, other = (plan(section(mixup=1.0), 8, SIZE, 3, key) for key in (1, 1, 2))
    assert np.array_equal(first.shares, again.shares)
    assert np.array_equal(first.partners, again.partners)
    assert not np.array_equal(first.shares, other.shares)


WEIGHTS = np.array([1.0, 3.0, 0.5])


def batches(augment: AugmentSection, **where: Any) -> list[Batch]:
    pixels = np.random.default_rng(0).integers(0, 200, (26, 12, 12, 4)).astype(np.uint8)
    tiles = Resident(pixels, np.arange(26) % 3, CPU)
    return list(
        TrainingBatches(
            tiles, Augment(augment, [0] * 4, [1] * 4), WEIGHTS, batch_size=4, seed=1, epoch=0,
            **where,
        )
    )  # fmt: skip


def test_mixed_batches_repeat_and_keep_their_own_labels() -> None:
    plain, mixed, again = (batches(section(mixup=alpha)) for alpha in (0.0, 1.0, 1.0))
    for one, two, three in zip(plain, mixed, again, strict=True):
        assert torch.equal(two.pixels, three.pixels)
        assert torch.equal(one.labels, two.labels)
        assert not torch.equal(one.pixels, two.pixels)
        assert one.mixture is None
        assert two.mixture is not None
        assert two.share == 1.0


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
def test_the_mean_over_ranks_of_mixed_batches_is_the_mean_over_all_their_tiles(
    kind: str, name: str
) -> None:
    losses: TypeAdapter[Loss] = TypeAdapter(Loss)
    loss = losses.validate_python(
        {"name": name, "label_smoothing": 0.1, "class_weights": "balanced"}
    )
    task = classifier(weights=WEIGHTS, loss=loss)
    parts = [batches(section(**{kind: 1.0}), rank=rank, ranks=3) for rank in range(3)]
    for step in zip(*parts, strict=True):
        outputs = [task.network(batch.pixels) for batch in step]
        mean = sum(
            batch.share * task.loss_of(out, batch) for batch, out in zip(step, outputs, strict=True)
        )
        together = {
            key: torch.cat([getattr(batch, key) for batch in step]) for key in ("pixels", "labels")
        }
        mixtures = [batch.mixture for batch in step if batch.mixture is not None]
        labels, shares = (torch.cat(one) for one in zip(*mixtures, strict=True))
        whole = Batch(**together, share=1.0, mixture=type(mixtures[0])(labels, shares))
        torch.testing.assert_close(mean / 3, task.loss_of(torch.cat(outputs), whole))
