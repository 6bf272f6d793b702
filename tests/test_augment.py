from __future__ import annotations

from typing import Any

import pytest
import torch

from pipeline.augment import Augment, entropy, generator, generators
from pipeline.distortions import Draws, flip, turn
from pipeline.schema import AugmentSection

CPU = torch.device("cpu")
NONE = {"flips": False, "quarter_turns": False, "brightness": 0.0, "contrast": 0.0, "noise": 0.0}


def augment(std: list[float], **changes: Any) -> Augment:
    return Augment(AugmentSection.model_validate({**NONE, **changes}), [100.0] * len(std), std)


def draws(tiles: int, *keys: int) -> Draws:
    return Draws(generator(CPU, *(keys or (1,))), tiles)


def batch(n: int, bands: int, size: int = 6, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.rand(n, size, size, bands, generator=random).permute(0, 3, 1, 2) * 200


def test_turn_equals_rot90_tile_by_tile() -> None:
    x = batch(8, 3)
    quarters = torch.arange(8) - 2
    turned = turn(x, quarters)
    for tile, quarter, expected in zip(turned, quarters.tolist(), x, strict=True):
        assert torch.equal(tile, torch.rot90(expected, quarter, (1, 2)))


def test_flip_mirrors_only_the_chosen_tiles() -> None:
    x = batch(4, 2)
    rows, columns = torch.tensor([0, 1, 0, 1]).bool(), torch.tensor([0, 0, 1, 1]).bool()
    out = flip(x, rows, columns)
    assert torch.equal(out[0], x[0])
    assert torch.equal(out[1], x[1].flip(1))
    assert torch.equal(out[2], x[2].flip(2))
    assert torch.equal(out[3], x[3].flip(1, 2))


def test_nothing_asked_nothing_done() -> None:
    x = batch(4, 5)
    assert torch.equal(augment([1.0] * 5)(x, draws(len(x))), x)


@pytest.mark.parametrize("bands", [1, 3, 4, 13])
def test_any_number_of_bands_keeps_shape_and_memory_order(bands: int) -> None:
    every = augment(
        [2.0] * bands, flips=True, quarter_turns=True, brightness=0.1, contrast=0.1, noise=0.1
    )
    out = every(batch(5, bands), draws(5))
    assert out.shape == (5, bands, 6, 6)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_flips_and_turns_reach_all_eight_ways_and_keep_all_values() -> None:
    x = batch(1, 2).expand(400, 2, 6, 6)
    out = augment([1.0, 1.0], flips=True, quarter_turns=True)(x, draws(len(x)))
    ways = {tuple(tile.flatten().tolist()) for tile in out}
    assert len(ways) == 8
    expected = x[0].flatten(1).sort().values
    assert all(torch.equal(tile.flatten(1).sort().values, expected) for tile in out)


def test_brightness_shifts_all_bands_of_a_tile_by_the_same_number() -> None:
    x, std = batch(2000, 3), [30.0, 60.0, 100.0]
    shift = augment(std, brightness=0.5)(x, draws(len(x))) - x
    same = shift[:, :1, :1, :1].expand_as(shift)
    torch.testing.assert_close(shift, same, atol=1e-3, rtol=0)
    unit = ((900 + 3600 + 10_000) / 3) ** 0.5
    assert same[:, 0, 0, 0].std().item() == pytest.approx(0.5 * unit, rel=0.1)


def test_contrast_keeps_each_tiles_mean_and_scales_its_deviation() -> None:
    x = batch(2000, 2)
    out = augment([1.0, 1.0], contrast=0.2)(x, draws(len(x)))
    torch.testing.assert_close(out.mean(dim=(2, 3)), x.mean(dim=(2, 3)), rtol=1e-4, atol=1e-3)
    factors = out.std(dim=(2, 3)) / x.std(dim=(2, 3))
    torch.testing.assert_close(factors[:, 0], factors[:, 1], rtol=1e-3, atol=1e-4)
    assert factors[:, 0].std().item() == pytest.approx(0.2, rel=0.1)


def test_noise_goes_up_to_its_amount_of_each_bands_deviation_and_is_independent() -> None:
    x, std = torch.zeros(500, 2, 20, 20), torch.tensor([2.0, 8.0])
    out = augment(std.tolist(), noise=0.25)(x, draws(len(x)))
    amounts = out.std(dim=(2, 3)) / std
    assert amounts.max().item() == pytest.approx(0.25, rel=0.15)
    assert amounts.min().item() < 0.02
    assert amounts.mean().item() == pytest.approx(0.125, rel=0.1)
    assert abs(torch.corrcoef(out.transpose(0, 1).flatten(1))[0, 1].item()) < 0.03


def test_the_same_keys_give_the_same_batch_and_others_another() -> None:
    every = augment([1.0] * 4, flips=True, quarter_turns=True, brightness=1, contrast=0.1, noise=1)
    x = batch(8, 4)
    first = every(x, draws(8, 3, 1, 4))
    assert torch.equal(first, every(x, draws(8, 3, 1, 4)))
    for other in [(3, 1, 5), (3, 2, 4), (4, 1, 4), (3, 4, 1)]:
        assert not torch.equal(first, every(x, draws(8, *other)))


def test_entropy_fits_what_torch_takes() -> None:
    seeds = {entropy(a, b) for a in range(20) for b in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_steps_random_numbers_depend_on_the_keys_and_its_place_alone() -> None:
    def drawn(count: int, *keys: int) -> list[float]:
        return [torch.rand(1, generator=one).item() for one in generators(CPU, count, *keys)]

    few, many = drawn(3, 0, 1, 2), drawn(200, 0, 1, 2)
    assert few == many[:3]
    assert len(set(many) | set(drawn(200, 0, 2, 2)) | set(drawn(200, 0, 1, 3))) > 590
