from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from pipeline import trust
from pipeline.attributions import attribute
from pipeline.trust import Removal, Sanity, Trust
from tests import networks
from tests.test_attributions import TARGETS, _tiles, linear


def test_layers_forget_from_the_head_downwards_until_none_is_left() -> None:
    network = networks.model("vgg")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    steps = list(trust.cascade(network, seed=3))
    assert [share for share, _ in steps] == pytest.approx([3 / 11, 6 / 11, 8 / 11, 1])
    first, last = steps[0][1].state_dict(), steps[-1][1].state_dict()
    changed = {key for key in before if not torch.equal(first[key], before[key])}
    assert changed == {"fc.weight", "fc.bias", "conv3_1.weight"}  # norm3_1 was as it is reset
    kept = {key for key in before if torch.equal(last[key], before[key])}
    assert {key for key in kept if "conv" in key or "fc" in key} == set()
    assert "normalize.mean" in kept
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    again = list(trust.cascade(network, seed=3))[-1][1].state_dict()
    assert all(torch.equal(again[key], last[key]) for key in last)


def test_weights_without_a_way_to_reset_are_shuffled() -> None:
    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.arange(50.0))

    ((share, forgetful),) = trust.cascade(nn.Sequential(Scale()), seed=0)
    scale = forgetful.get_parameter("0.scale").detach()
    assert share == 1
    assert not torch.equal(scale, torch.arange(50.0))
    assert torch.equal(scale.sort().values, torch.arange(50.0))


def test_rank_correlation_is_that_of_scipy_and_flat_maps_are_like_none() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 9, (2, 4, 5, 5))
    second[1] = 7
    found = trust.rank_correlation(first, second)
    for i in (0, 2, 3):
        expected = stats.spearmanr(first[i].ravel(), second[i].ravel()).statistic
        assert found[i] == pytest.approx(expected)
    assert found[1] == 0
    assert trust.rank_correlation(first, first**3) == pytest.approx(1)


def test_patches_are_ranked_by_their_means() -> None:
    scores = torch.zeros(1, 5, 5)
    scores[0, 4, 4], scores[0, 0, 4] = 9, 1
    ranks = trust.patch_ranks(scores, 2)[0, 0].int().tolist()
    assert ranks[0] == [2, 2, 2, 1, 1]
    assert ranks[4] == [3, 3, 3, 0, 0]
    small = trust.patch_ranks(torch.rand(1, 3, 3), 7)
    assert sorted(small.flatten().tolist()) == list(range(9))


def test_removal_of_a_linear_network_is_best_in_its_own_order() -> None:
    network, tiles = linear(), _tiles(3, 14)
    maps = attribute(network, tiles, TARGETS, "integrated_gradients")
    # The difference of the outputs is what moves a probability of two.
    other = attribute(network, tiles, 1 - TARGETS, "integrated_gradients")
    scores = (maps - other).sum(axis=-1)
    best = trust.removal(network, tiles, TARGETS, scores)
    worst = trust.removal(network, tiles, TARGETS, -scores)
    assert best.deletion.shape == best.insertion.shape == (50, 3)
    assert best.deletion[0] == pytest.approx(best.insertion[-1])  # the whole tile
    assert best.deletion[-1] == pytest.approx(best.insertion[0])  # the mean tile
    assert best.deletion[-1] == pytest.approx(0.5)
    assert (best.scores > 0.1).all()
    assert worst.scores == pytest.approx(-best.scores, abs=1e-6)
    for seed in range(3):
        for other_order in trust.random_removal(network, tiles, TARGETS, seed).scores, worst.scores:
            assert (other_order <= best.scores + 1e-9).all()


def test_areas_are_those_below_the_curves() -> None:
    removal = Removal(np.array([[1.0], [0.5], [0.0]]), np.array([[0.0], [1.0], [1.0]]))
    deleted, inserted = removal.areas
    assert (deleted[0], inserted[0], removal.scores[0]) == (0.5, 0.75, 0.25)


def test_the_interval_is_that_of_students_t() -> None:
    values = np.array([0.1, 0.3, 0.2, 0.4])
    known = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert trust.mean_interval(values) == pytest.approx((known.low, known.high))
    assert np.isnan(trust.mean_interval(values[:1])).all()


@pytest.mark.parametrize(
    ("first", "last", "gain", "words"),
    [
        (
            0.1,
            0.0,
            0.3,
            r"Saliency follows what .* better than chance does \(\+0\.30\)",
        ),
        (0.4, 0.1, 0.3, "keeps some of its pattern"),
        (0.9, 0.1, 0.3, "when the upper layers are random"),
        (0.9, 0.8, 0.0, r"the tile, not the network .* no better than chance does \(\+0\.00\)"),
    ],
)
def test_verdicts_follow_from_both_tests(
    first: float, last: float, gain: float, words: str
) -> None:
    flat = np.array([[0.5, 0.5, 0.5]] * 3)
    more = flat + gain + np.array([-0.01, 0, 0.01])
    sanity = Sanity((0.5, 1.0), np.array([[first] * 3, [last] * 3]))
    found = Trust("saliency", sanity, Removal(flat, more)).verdict
    assert re.search(words, found), found


def test_both_tests_of_a_method() -> None:
    network = networks.model("lenet")
    tiles = np.random.default_rng(1).integers(0, 255, (4, 28, 28, 4)).astype(np.uint8)
    targets = np.array([0, 1, 2, 3])
    maps = attribute(network, tiles, targets, "saliency")
    found = trust.measured(network, tiles, targets, "saliency", maps)
    assert found.sanity.correlation.shape == (4, 2)
    assert (np.abs(found.sanity.correlation) < 0.9).all()
    assert found.removal.scores.shape == (4,)
    # A gradient's magnitude counts; what speaks against a class comes last.
    assert (trust.importance(-maps, "saliency") == trust.importance(maps, "saliency")).all()
    assert (trust.importance(-maps, "occlusion") == -trust.importance(maps, "occlusion")).all()
