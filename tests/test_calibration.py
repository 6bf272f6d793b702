from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from pipeline import calibration, metrics
from pipeline.calibration import LIMIT, Reliability
from tests import measured


def _logits(count: int = 4000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are exactly right at a temperature of 1: labels are drawn from their softmax."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(count, 5, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator).flatten()


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_the_temperature_that_was_put_in_is_found(truth: float) -> None:
    logits, labels = _logits()
    shares = (logits * truth).softmax(dim=1).numpy()
    found = calibration.fit(shares, labels.numpy())
    assert found == pytest.approx(truth, rel=0.05)
    scaled = calibration.tempered(shares, found)
    assert metrics.ece(scaled, labels.numpy()) < 0.02


def test_it_is_what_lbfgs_finds() -> None:
    logits, labels = _logits(500)
    inverse = torch.ones(1, dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([inverse], max_iter=100, line_search_fn="strong_wolfe")

    def cost() -> torch.Tensor:
        solver.zero_grad()
        loss = torch.nn.functional.cross_entropy(1.7 * logits * inverse, labels)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(cost)  # type: ignore[no-untyped-call]
    found = calibration.fit((1.7 * logits).softmax(dim=1).numpy(), labels.numpy())
    assert found == pytest.approx(1 / inverse.item(), abs=1e-3)


def test_a_temperature_is_that_of_the_logits_and_can_be_taken_back() -> None:
    logits, _ = _logits(50)
    shares = logits.softmax(dim=1).numpy()
    warmer = calibration.tempered(shares, 2.0)
    np.testing.assert_allclose(warmer, (logits / 2).softmax(dim=1).numpy(), rtol=1e-9)
    np.testing.assert_allclose(calibration.tempered(warmer, 0.5), shares, rtol=1e-9)


def test_what_is_right_everywhere_stops_at_the_limit_and_nothing_is_left_alone() -> None:
    shares = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert calibration.fit(shares, np.array([0, 1])) == pytest.approx(1 / LIMIT, abs=1e-3)
    assert calibration.fit(shares, np.array([1, 0])) == pytest.approx(LIMIT, abs=1e-3)
    assert calibration.fit(np.zeros((0, 2)), np.zeros(0, np.int64)) == 1.0


def test_reliability_equals_scikit_learn() -> None:
    some = measured.evidence()
    found = Reliability.of(some.probabilities, some.actual)
    accuracy, confidence = calibration_curve(some.hits, some.confidence, n_bins=15)
    filled = found.tiles > 0
    np.testing.assert_allclose(found.accuracy[filled], accuracy)
    np.testing.assert_allclose(found.confidence[filled], confidence)
    assert np.isnan(found.accuracy[~filled]).all()
    gap = np.nansum(found.tiles * np.abs(found.accuracy - found.confidence)) / 600
    assert gap == pytest.approx(metrics.ece(some.probabilities, some.actual))
