from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.metrics import nll
from pipeline.voting import TIE_BREAK, VOTES, Views, Vote, mean, shares, view_count, views, vote

# Three members on two tiles of three classes.
MEMBERS = [
    [[0.6, 0.3, 0.1], [0.1, 0.9, 0.0]],
    [[0.2, 0.5, 0.3], [0.3, 0.6, 0.1]],
    [[0.4, 0.0, 0.6], [0.8, 0.1, 0.1]],
]
WEIGHTS = [0.5, 0.3, 0.2]


def heard(kind: Vote, members: list[list[list[float]]] = MEMBERS) -> Tensor:
    """Probabilities of a vote."""
    return vote(torch.tensor(members).log(), kind, WEIGHTS).softmax(dim=1)


def test_a_soft_vote_is_the_mean_probability() -> None:
    torch.testing.assert_close(
        heard("soft"), torch.tensor([[0.4, 0.8 / 3, 1.0 / 3], [0.4, 1.6 / 3, 0.2 / 3]])
    )


def test_a_weighted_vote_is_the_weighted_mean() -> None:
    # 0.5 x 0.6 + 0.3 x 0.2 + 0.2 x 0.4 = 0.44, and so on.
    torch.testing.assert_close(
        heard("weighted"), torch.tensor([[0.44, 0.30, 0.26], [0.30, 0.65, 0.05]])
    )


def test_a_hard_vote_counts_members_and_breaks_ties_by_the_mean_probability() -> None:
    one, other = heard("hard").tolist()
    # One vote each; the mean probabilities are 0.4, 0.267 and 0.333.
    assert one == pytest.approx(
        [(1 + TIE_BREAK * p) / (3 + TIE_BREAK) for p in (0.4, 0.8 / 3, 1 / 3)]
    )
    assert np.argsort(one).tolist() == [1, 2, 0]
    assert other[1] > other[0] > other[2] > 0  # two votes, one, none
    assert other[1] == pytest.approx(2 / 3, abs=TIE_BREAK)


def test_a_majority_beats_any_confidence() -> None:
    members = [[[0.51, 0.49]], [[0.51, 0.49]], [[0.0, 1.0]]]
    assert heard("hard", members).argmax() == 0
    assert heard("soft", members).argmax() == 1


@pytest.mark.parametrize("kind", VOTES)
def test_a_class_that_no_member_thinks_possible_costs_no_nan(kind: Vote) -> None:
    found = heard(kind, [[[1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0]], [[0.5, 0.5, 0.0]]])
    assert found.isfinite().all()
    for label in range(3):
        assert math.isfinite(nll(found.numpy(), np.array([label])))


@given(st.integers(1, 5), st.integers(2, 6), st.integers(0, 2**32 - 1), st.sampled_from(VOTES))
@settings(deadline=None, max_examples=60)
def test_votes_are_probabilities_and_members_have_no_order(
    members: int, classes: int, seed: int, kind: Vote
) -> None:
    random = torch.Generator().manual_seed(seed)
    logs = (3 * torch.randn(members, 7, classes, generator=random)).log_softmax(dim=2)
    weights = shares(torch.rand(members, generator=random).tolist())
    found = vote(logs, kind, weights)
    torch.testing.assert_close(found.exp().sum(dim=1), torch.ones(7))
    order = torch.randperm(members, generator=random).tolist()
    again = vote(logs[order], kind, [weights[i] for i in order])
    torch.testing.assert_close(again, found, atol=1e-4, rtol=1e-4)
    if members == 1 and kind != "hard":
        torch.testing.assert_close(found, logs[0])


def test_a_member_without_a_hit_has_no_weight_and_none_at_all_are_equal() -> None:
    assert shares([0.0, 0.2, 0.6]) == pytest.approx([0.0, 0.25, 0.75])
    assert shares([0.0, 0.0]) == [0.5, 0.5]
    logs = torch.tensor(MEMBERS).log()
    torch.testing.assert_close(vote(logs, "weighted", [0.0, 0.0, 1.0]), logs[2])


def test_the_mean_does_not_underflow() -> None:
    logs = torch.full((2, 1, 2), -500.0)
    assert mean(logs).tolist() == [[-500.0, -500.0]]


KINDS: tuple[Views, ...] = ("none", "flips", "symmetries")


@pytest.mark.parametrize("kind", KINDS)
def test_views_are_a_group(kind: Views) -> None:
    """Views of any view are the views of the tile, in another order; all differ."""
    tile = torch.arange(2 * 9.0).reshape(1, 2, 3, 3)
    laid = views(tile, kind)
    known = {view.numpy().tobytes() for view in (v.contiguous() for v in laid)}
    assert len(known) == len(laid) == view_count(kind)
    assert torch.equal(laid[0], tile)
    for view in laid:
        assert {v.contiguous().numpy().tobytes() for v in views(view, kind)} == known


def test_symmetries_hold_the_quarter_turns() -> None:
    tile = torch.arange(9.0).reshape(1, 1, 3, 3)
    laid = views(tile, "symmetries")
    for turns in range(4):
        assert any(torch.equal(view, tile.rot90(turns, (2, 3))) for view in laid)
