from __future__ import annotations

import pytest
import torch

from pipeline.layers import GlobalAvgPool, GlobalMaxPool, Normalize

MEAN, STD = [10.0, 100.0], [3.0, 4.0]


def pixels(*bands: float) -> torch.Tensor:
    return torch.tensor(bands)[None, :, None, None].expand(1, len(bands), 2, 2)


def test_normalize_scales_each_band_by_its_own_deviation() -> None:
    layer = Normalize(2)
    layer.set_statistics(MEAN, STD)
    out = layer(pixels(13.0, 92.0))
    assert out[0, :, 0, 0].tolist() == [1.0, -2.0]


def test_normalize_without_scale_keeps_the_bands_relative_contrast() -> None:
    layer = Normalize(2, scale=False)
    layer.set_statistics(MEAN, STD)
    common = ((3.0**2 + 4.0**2) / 2) ** 0.5
    out = layer(pixels(13.0, 92.0))[0, :, 0, 0]
    torch.testing.assert_close(out, torch.tensor([3.0, -8.0]) / common)


@pytest.mark.parametrize("scale", [True, False])
def test_normalize_only_centres_a_constant_band(scale: bool) -> None:
    layer = Normalize(1, scale=scale)
    layer.set_statistics([7.0], [0.0])
    assert layer(pixels(9.0)).unique().tolist() == [2.0]


def test_statistics_travel_with_the_state() -> None:
    layer = Normalize(2)
    layer.set_statistics(MEAN, STD)
    other = Normalize(2)
    other.load_state_dict(layer.state_dict())
    assert other.mean.tolist() == MEAN
    assert other.deviation.tolist() == STD
    assert not list(layer.parameters())


def test_large_values_lose_no_precision_in_the_statistics() -> None:
    layer = Normalize(1)
    layer.set_statistics([40000.25], [0.5])
    assert layer(pixels(40001.25)).unique().tolist() == [2.0]


def test_global_pools_against_numbers_by_hand() -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, -1.0], [-2.0, -5.0]]]])
    assert GlobalAvgPool()(x).tolist() == [[3.0, -2.0]]
    assert GlobalMaxPool()(x).tolist() == [[6.0, 0.0]]
