from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pipeline import distortions
from pipeline.augment import AFTER, BEFORE, Augment, generator
from pipeline.distortions import Scale
from pipeline.schema import AugmentSection

SCALE = Scale(
    torch.tensor([50.0, 100.0])[:, None, None], torch.tensor([5.0, 20.0])[:, None, None], 14.6
)
KEEP = AugmentSection.model_validate(
    {"flips": False, "quarter_turns": False, "brightness": 0, "contrast": 0, "noise": 0}
)


def random() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def batch(n: int = 400, size: int = 12) -> Tensor:
    made = torch.randn(n, size, size, 2, generator=random()).permute(0, 3, 1, 2)
    return made * SCALE.std + SCALE.mean


def test_no_move_moves_nothing() -> None:
    x = batch(4)
    torch.testing.assert_close(distortions.move(x, 0, 0, 0, random()), x, rtol=1e-4, atol=1e-3)


def test_a_shift_moves_by_up_to_its_share_of_the_side() -> None:
    ramp = torch.arange(20.0).expand(300, 1, 20, 20)
    moved = distortions.move(ramp, 0, 0, 0.1, random())
    steps = moved[:, 0, 10, 10] - 10
    assert steps.abs().max() <= 2.0 + 1e-3
    assert steps.min() < -1.8
    assert steps.max() > 1.8


def test_a_zoom_scales_about_the_middle() -> None:
    ramp = (torch.arange(20.0) - 9.5).expand(300, 1, 20, 20)
    moved = distortions.move(ramp, 0, 0.25, 0, random())
    slope = moved[:, 0, 10, 11] - moved[:, 0, 10, 10]
    assert slope.min().item() == pytest.approx(1 / 1.25, abs=0.02)
    assert slope.max().item() == pytest.approx(1.25, abs=0.02)
    torch.testing.assert_close(moved[:, 0, 10, 10], 0.5 * slope, rtol=1e-3, atol=1e-3)


def test_a_rotation_keeps_the_middle_and_turns_a_gradient() -> None:
    across = (torch.arange(21.0) - 10).expand(300, 1, 21, 21)
    moved = distortions.move(across, 30, 0, 0, random())[:, 0]
    assert moved[:, 10, 10].abs().max() < 1e-3
    right, down = moved[:, 10, 11] - moved[:, 10, 10], moved[:, 11, 10] - moved[:, 10, 10]
    angle = torch.rad2deg(torch.atan2(-down, right))
    torch.testing.assert_close(right**2 + down**2, torch.ones(300), rtol=1e-3, atol=1e-3)
    assert 28 < angle.max() <= 30.1
    assert -30.1 <= angle.min() < -28


def test_moving_makes_up_no_values() -> None:
    x = batch(50)
    moved = distortions.move(x, 180, 0.3, 0.3, random())
    assert (moved.amax(dim=(2, 3)) <= x.amax(dim=(2, 3)) + 1e-3).all()
    assert (moved.amin(dim=(2, 3)) >= x.amin(dim=(2, 3)) - 1e-3).all()


def test_band_brightness_shifts_each_band_by_itself_in_its_deviation() -> None:
    shift = distortions.band_brightness(batch(2000), 0.5, random(), SCALE) - batch(2000)
    shift = shift.mean(dim=(2, 3))
    assert shift.std(dim=0).tolist() == pytest.approx([2.5, 10.0], rel=0.1)
    assert abs(torch.corrcoef(shift.T)[0, 1].item()) < 0.1


def test_band_contrast_keeps_the_means() -> None:
    x = batch()
    out = distortions.band_contrast(x, 0.3, random(), SCALE)
    torch.testing.assert_close(out.mean(dim=(2, 3)), x.mean(dim=(2, 3)), rtol=1e-4, atol=1e-2)
    factors = out.std(dim=(2, 3)) / x.std(dim=(2, 3))
    assert abs(torch.corrcoef(factors.T)[0, 1].item()) < 0.15


def test_haze_draws_every_pixel_towards_the_veil_and_never_past_its_share() -> None:
    x, veil = batch(), SCALE.mean + 2 * SCALE.std
    share = (distortions.haze(x, 0.4, random(), SCALE) - x) / (veil - x)
    clear = (veil - x).abs() > 1
    assert share[clear].min() >= -1e-3
    assert share[clear].max() <= 0.4 + 1e-3
    assert share[clear].mean().item() == pytest.approx(0.1, abs=0.02)  # two halves of 0.4


def test_a_scratch_is_a_line_of_one_pixel_in_its_share_of_the_tiles() -> None:
    x = batch(2000)
    changed = (distortions.scratches(x, 0.25, random(), SCALE) != x).any(dim=1)
    lengths = changed.sum(dim=(1, 2))[changed.any(dim=(1, 2))]
    assert len(lengths) / 2000 == pytest.approx(0.25, abs=0.04)
    assert lengths.max() <= 2 * 12
    assert lengths.float().mean() > 6


def test_a_dead_line_is_one_row_of_one_band_at_its_minimum() -> None:
    x = batch(2000)
    out = distortions.dead_lines(x, 0.25, random(), SCALE)
    rows = (out != x).any(dim=3)  # (N, C, H)
    hit = rows.flatten(1).any(dim=1)
    assert hit.float().mean().item() == pytest.approx(0.25, abs=0.04)
    assert set(rows[hit].sum(dim=(1, 2)).tolist()) == {1}
    lowest = x.amin(dim=3, keepdim=True).amin(dim=2, keepdim=True)
    where = rows[..., None].expand_as(x)
    assert torch.equal(out[where], lowest.expand_as(x)[where])


def test_band_dropout_blanks_bands_at_their_mean_but_never_all() -> None:
    x = batch(2000)
    out = distortions.band_dropout(x, 0.9, random(), SCALE)
    blank = (out == SCALE.mean).all(dim=(2, 3))
    assert blank.sum(dim=1).max() == 1
    assert blank.float().mean().item() == pytest.approx(0.9 / 2, abs=0.06)


@pytest.mark.parametrize("name", [*BEFORE, *AFTER, "rotation", "zoom", "shift"])
def test_each_distortion_by_itself_keeps_shape_and_range(name: str) -> None:
    amount = True if name in BEFORE else 0.2
    section = KEEP.model_copy(update={name: amount})
    every = Augment(section, SCALE.mean.flatten().tolist(), SCALE.std.flatten().tolist())
    x = batch()
    out = every(x, generator(torch.device("cpu"), 1))
    assert out.shape == x.shape
    assert out.isfinite().all()
    assert not torch.equal(out, x)
    # Five deviations hold the noise of the batch itself; six hold what 0.2 of anything adds.
    assert ((out - SCALE.mean).abs() / SCALE.std).max() < (10 if name == "scratches" else 6.5)
    assert torch.equal(out, every(x, generator(torch.device("cpu"), 1)))
