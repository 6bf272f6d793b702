from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import loadmat
from torch import Tensor

from pipeline import distortions
from pipeline.augment import AFTER, BEFORE, Augment, generator
from pipeline.data import TrainingBatches
from pipeline.distortions import Draws, Scale
from pipeline.feeding import Resident
from pipeline.schema import AugmentSection

SCALE = Scale(
    torch.tensor([50.0, 100.0])[:, None, None], torch.tensor([5.0, 20.0])[:, None, None], 14.6
)
KEEP = AugmentSection.model_validate(
    {"flips": False, "quarter_turns": False, "brightness": 0, "contrast": 0, "noise": 0}
)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def draws(tiles: int) -> Draws:
    return Draws(random(), tiles)


def batch(n: int = 400, size: int = 12) -> Tensor:
    made = torch.randn(n, size, size, 2, generator=random()).permute(0, 3, 1, 2)
    return made * SCALE.std + SCALE.mean


def test_no_move_moves_nothing() -> None:
    x = batch(4)
    torch.testing.assert_close(distortions.move(x, 0, 0, 0, draws(4)), x, rtol=1e-4, atol=1e-3)


def test_a_shift_moves_by_up_to_its_share_of_the_side() -> None:
    ramp = torch.arange(20.0).expand(300, 1, 20, 20)
    moved = distortions.move(ramp, 0, 0, 0.1, draws(300))
    steps = moved[:, 0, 10, 10] - 10
    assert steps.abs().max() <= 2.0 + 1e-3
    assert steps.min() < -1.8
    assert steps.max() > 1.8


def test_a_zoom_scales_about_the_middle() -> None:
    ramp = (torch.arange(20.0) - 9.5).expand(300, 1, 20, 20)
    moved = distortions.move(ramp, 0, 0.25, 0, draws(300))
    slope = moved[:, 0, 10, 11] - moved[:, 0, 10, 10]
    assert slope.min().item() == pytest.approx(1 / 1.25, abs=0.02)
    assert slope.max().item() == pytest.approx(1.25, abs=0.02)
    torch.testing.assert_close(moved[:, 0, 10, 10], 0.5 * slope, rtol=1e-3, atol=1e-3)


def test_a_rotation_keeps_the_middle_and_turns_a_gradient() -> None:
    across = (torch.arange(21.0) - 10).expand(300, 1, 21, 21)
    moved = distortions.move(across, 30, 0, 0, draws(300))[:, 0]
    assert moved[:, 10, 10].abs().max() < 1e-3
    right, down = moved[:, 10, 11] - moved[:, 10, 10], moved[:, 11, 10] - moved[:, 10, 10]
    angle = torch.rad2deg(torch.atan2(-down, right))
    torch.testing.assert_close(right**2 + down**2, torch.ones(300), rtol=1e-3, atol=1e-3)
    assert 28 < angle.max() <= 30.1
    assert -30.1 <= angle.min() < -28


def test_moving_makes_up_no_values() -> None:
    x = batch(50)
    moved = distortions.move(x, 180, 0.3, 0.3, draws(50))
    assert (moved.amax(dim=(2, 3)) <= x.amax(dim=(2, 3)) + 1e-3).all()
    assert (moved.amin(dim=(2, 3)) >= x.amin(dim=(2, 3)) - 1e-3).all()


@pytest.mark.parametrize("amount", [0.5, 1.0])
def test_a_faint_band_is_shifted_by_three_of_its_own_deviations_at_most(amount: float) -> None:
    std = torch.tensor([5.0, 200.0, 1000.0, 0.0])[:, None, None]
    scale = Scale(torch.zeros(4, 1, 1), std, float(std.square().mean().sqrt()))
    shift = distortions.brightness(torch.zeros(9, 4, 2, 2), amount, draws(9), scale)
    in_units = shift[:, :3, 0, 0] / shift[:, 2:3, 0, 0]
    expected = torch.tensor([3 * 5 / scale.unit, 1.0, 1.0])  # 600 is above the unit
    torch.testing.assert_close(in_units, expected.expand(9, 3))
    assert not shift[:, 3].any()  # a constant band has nothing that light could change


@pytest.mark.data
def test_bands_of_one_kind_share_one_shift_to_the_bit(real_data: Path) -> None:
    tiles = loadmat(real_data / "sat" / "eurosat-as-sat6.mat")["train_x"].astype(np.float64)
    std = torch.from_numpy(tiles.std(axis=(0, 1, 3)).astype(np.float32))[:, None, None]
    scale = Scale(torch.zeros(4, 1, 1), std, float(std.square().mean().sqrt()))
    assert scale.unit < 0.7 * 3 * std.min().item()
    shift = distortions.brightness(torch.zeros(9, 4, 2, 2), 0.7, draws(9), scale)
    assert torch.equal(shift, 0.7 * scale.unit * shift_of_one(9).expand_as(shift))


def shift_of_one(n: int) -> Tensor:
    return torch.randn(n, 1, 1, 1, generator=random())


def test_band_brightness_shifts_each_band_by_itself_in_its_deviation() -> None:
    shift = distortions.band_brightness(batch(2000), 0.5, draws(2000), SCALE) - batch(2000)
    shift = shift.mean(dim=(2, 3))
    assert shift.std(dim=0).tolist() == pytest.approx([2.5, 10.0], rel=0.1)
    assert abs(torch.corrcoef(shift.T)[0, 1].item()) < 0.1


def test_band_contrast_keeps_the_means() -> None:
    x = batch()
    out = distortions.band_contrast(x, 0.3, draws(len(x)), SCALE)
    torch.testing.assert_close(out.mean(dim=(2, 3)), x.mean(dim=(2, 3)), rtol=1e-4, atol=1e-2)
    factors = out.std(dim=(2, 3)) / x.std(dim=(2, 3))
    assert abs(torch.corrcoef(factors.T)[0, 1].item()) < 0.15


def test_haze_draws_every_pixel_towards_the_veil_and_never_past_its_share() -> None:
    x, veil = batch(), SCALE.mean + 2 * SCALE.std
    share = (distortions.haze(x, 0.4, draws(len(x)), SCALE) - x) / (veil - x)
    clear = (veil - x).abs() > 1
    assert share[clear].min() >= -1e-3
    assert share[clear].max() <= 0.4 + 1e-3
    assert share[clear].mean().item() == pytest.approx(0.1, abs=0.02)  # two halves of 0.4


def test_a_scratch_is_a_line_of_one_pixel_in_its_share_of_the_tiles() -> None:
    x = batch(2000)
    changed = (distortions.scratches(x, 0.25, draws(len(x)), SCALE) != x).any(dim=1)
    lengths = changed.sum(dim=(1, 2))[changed.any(dim=(1, 2))]
    assert len(lengths) / 2000 == pytest.approx(0.25, abs=0.04)
    assert lengths.max() <= 2 * 12
    assert lengths.float().mean() > 6


def test_a_dead_line_is_one_row_of_one_band_at_its_minimum() -> None:
    x = batch(2000)
    out = distortions.dead_lines(x, 0.25, draws(len(x)), SCALE)
    rows = (out != x).any(dim=3)  # (N, C, H)
    hit = rows.flatten(1).any(dim=1)
    assert hit.float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert set(rows[hit].sum(dim=(1, 2)).tolist()) == {1}
    lowest = x.amin(dim=3, keepdim=True).amin(dim=2, keepdim=True)
    where = rows[..., None].expand_as(x)
    assert torch.equal(out[where], lowest.expand_as(x)[where])


def test_band_dropout_blanks_bands_at_their_mean_but_never_all() -> None:
    x = batch(2000)
    out = distortions.band_dropout(x, 0.9, draws(len(x)), SCALE)
    blank = (out == SCALE.mean).all(dim=(2, 3))
    assert blank.sum(dim=1).max() == 1
    assert blank.float().mean().item() == pytest.approx(0.9 / 2, abs=0.06)


# Distortion -> how it is asked for; the amounts are large, so that a broken promise shows.
AMOUNTS: dict[str, Any] = {
    "flips": True, "quarter_turns": True, "rotation": 180.0, "zoom": 0.5, "shift": 0.5,
    "contrast": 0.3, "band_contrast": 0.3, "brightness": 1.0, "band_brightness": 1.0, "haze": 0.5,
    "noise": 0.3, "scratches": 0.5, "dead_lines": 0.5, "band_dropout": 0.5,
}  # fmt: skip
PLACE = ("flips", "quarter_turns", "rotation", "zoom", "shift")
BANDS = (1, 3, 4, 13)
TOP = {8: 255.0, 16: 65535.0}


def source(bands: int, bits: int = 8, n: int = 60) -> Tensor:
    """Whole numbers from 0 to the top of their type, bands of unlike brightness."""
    made = torch.rand(n, 9, 9, bands, generator=random()).permute(0, 3, 1, 2)
    level = torch.linspace(0.3, 1, bands)[:, None, None]
    return (made * level * 255).round() * (TOP[bits] / 255)


def augment(name: str, x: Tensor) -> Augment:
    flat = x.transpose(0, 1).flatten(1).double()
    section = KEEP.model_copy(update={name: AMOUNTS[name]})
    return Augment(section, flat.mean(dim=1).tolist(), flat.std(dim=1).tolist())


def keys(tiles: int = 60) -> Draws:
    return Draws(generator(torch.device("cpu"), 1), tiles)


def test_every_distortion_of_the_section_is_tried_here() -> None:
    assert list(AMOUNTS) == [*BEFORE, "rotation", "zoom", "shift", *AFTER]
    assert set(AMOUNTS) == set(AugmentSection.model_fields) - {"mixup", "cutmix"}  # test_mixing


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("name", AMOUNTS)
def test_each_keeps_shape_and_type_and_repeats(name: str, bands: int) -> None:
    x = source(bands)
    before, every = x.clone(), augment(name, x)
    out = every(x, keys())
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert out.isfinite().all()
    assert torch.equal(x, before)  # the store's own pixels stay
    assert torch.equal(out, every(x, keys()))
    assert (bands == 1 and name == "band_dropout") or not torch.equal(out, x)  # never all bands


@pytest.mark.parametrize("bands", BANDS)
@pytest.mark.parametrize("name", AMOUNTS)
def test_an_amount_means_the_same_for_8_and_16_bits(name: str, bands: int) -> None:
    narrow, wide = (augment(name, x)(x, keys()) for x in (source(bands, 8), source(bands, 16)))
    torch.testing.assert_close(wide / 257, narrow, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", AMOUNTS)
def test_what_becomes_of_a_tile_hangs_on_no_other(name: str) -> None:
    x = source(4)
    every = augment(name, x)
    others = x.flip(0).where(torch.arange(len(x))[:, None, None, None] != 7, x)
    assert torch.equal(every(x, keys())[7], every(others, keys())[7])


@pytest.mark.parametrize("bits", TOP)
@pytest.mark.parametrize("name", [*PLACE, "dead_lines"])
def test_where_a_tile_lies_changes_no_value_s_range(name: str, bits: int) -> None:
    x = source(4, bits)
    out = augment(name, x)(x, keys())
    slack = 1e-4 * TOP[bits] if name in PLACE[2:] else 0.0  # a resampling rounds
    for extreme, sign in ((Tensor.amax, 1), (Tensor.amin, -1)):
        assert (sign * (extreme(out, (2, 3)) - extreme(x, (2, 3))) <= slack).all()


@pytest.mark.parametrize("bits", TOP)
@pytest.mark.parametrize(
    ("name", "most"),
    [
        # In deviations of the band; a normal number of 60 x 4 draws stays below 4.
        ("brightness", 4.0 * 1.0 * distortions.MOST),
        ("band_brightness", 4.0 * 1.0),
        ("contrast", 4.0 * 0.3 * 2),  # of a tile whose pixels lie within two deviations
        ("band_contrast", 4.0 * 0.3 * 2),
        ("haze", 0.5 * 4),  # to the veil, two deviations above the mean
        ("noise", 5.0 * 0.3),  # of 20,000 pixels
        ("scratches", 3.0 * distortions.MOST + 2),
        ("dead_lines", 4.0),
        ("band_dropout", 2.5),
    ],
)
def test_light_and_sensor_move_no_pixel_further_than_they_say(
    name: str, most: float, bits: int
) -> None:
    x = source(4, bits)
    every = augment(name, x)
    moved = ((every(x, keys()) - x) / every.scale.std).abs().max().item()
    assert 0.1 * most < moved <= most


@pytest.mark.parametrize("name", AMOUNTS)
def test_every_tile_keeps_its_label(name: str) -> None:
    # A tile is as bright as its label says, in steps far wider than what any of these moves.
    labels = np.arange(90) % 5
    pixels = np.full((90, 6, 6, 3), 1000, np.uint16) * (1 + labels)[:, None, None, None]
    section = KEEP.model_copy(update={name: AMOUNTS[name]})
    batches = TrainingBatches(
        Resident(pixels.astype(np.uint16), labels, torch.device("cpu")),
        Augment(section, [0.0] * 3, [10.0] * 3),
        np.ones(5),
        batch_size=32,
        seed=0,
        epoch=0,
    )
    seen = list(batches)
    assert sorted(torch.cat([batch.labels for batch in seen]).tolist()) == sorted(labels)
    for batch in seen:
        # The brightest band is one that was not dropped; a veil draws all towards itself.
        bright = batch.pixels.mean(dim=(2, 3)).amax(dim=1)
        if name == "haze":
            assert torch.corrcoef(torch.stack([bright, batch.labels.float()]))[0, 1] > 0.8
        else:
            assert torch.equal((bright / 1000).round().long() - 1, batch.labels)
