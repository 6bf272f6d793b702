from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve

from pipeline import calibration, metrics
from pipeline.calibration import LIMIT, PRIOR, Reliability
from pipeline.places import Places
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
        prior = (inverse.log() / PRIOR).square().sum() / (2 * len(labels))
        (loss + prior).backward()  # type: ignore[no-untyped-call]
        return loss + prior

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
    shares = np.tile([[0.6, 0.4], [0.3, 0.7]], (2000, 1))
    right = np.tile([0, 1], 2000)
    assert calibration.fit(shares, right) == pytest.approx(1 / LIMIT, abs=1e-3)
    assert calibration.fit(shares, 1 - right) == pytest.approx(LIMIT, abs=1e-3)
    assert 0.8 < calibration.fit(shares[:2], right[:2]) < 1  # two tiles say little
    assert calibration.fit(np.zeros((0, 2)), np.zeros(0, np.int64)) == 1.0


def _alone(count: int) -> Places:
    return Places.alone([str(i) for i in range(count)])


def test_few_tiles_give_a_temperature_where_the_gain_is_plain() -> None:
    logits, labels = _logits(1040)
    shares = (0.3 * logits).softmax(dim=1).numpy()
    fitted = calibration.guarded(shares[:40], labels.numpy()[:40], _alone(40))
    assert fitted.helps
    assert fitted.temperature == fitted.found == pytest.approx(0.3, rel=0.5)
    assert fitted.sentence() == f"Temperature {fitted.found:g}, fitted to 40 validation tiles."
    here, actual = shares[40:], labels.numpy()[40:]
    scaled = calibration.tempered(here, fitted.temperature)
    assert metrics.nll(scaled, actual) < metrics.nll(here, actual)
    assert metrics.ece(scaled, actual) < metrics.ece(here, actual)


@pytest.mark.parametrize(("factor", "least", "most"), [(1.0, 0, 1), (3.0, 38, 40)])
def test_of_few_tiles_few_warm_what_can_be_believed_and_most_what_is_too_sure(
    factor: float, least: int, most: int
) -> None:
    logits, labels = _logits(40 * 40, seed=2)
    shares, own = (factor * logits).softmax(dim=1).numpy(), labels.numpy()
    worlds = [slice(start, start + 40) for start in range(0, 1600, 40)]
    found = [calibration.guarded(shares[one], own[one], _alone(40)) for one in worlds]
    assert least <= sum(one.helps for one in found) <= most
    others, labels = _logits(2000, seed=1)
    test, actual = (factor * others).softmax(dim=1).numpy(), labels.numpy()
    costs = [metrics.nll(calibration.tempered(test, one.temperature), actual) for one in found]
    assert max(costs) < metrics.nll(test, actual) + 0.05
    assert np.mean(costs) < metrics.nll(test, actual) + (0.001 if factor == 1 else -0.3)


def test_a_gain_must_hold_in_other_places() -> None:
    logits, labels = _logits(400)
    factor = torch.tensor([0.3, 1, 1, 2.5], dtype=torch.float64).repeat_interleave(100)
    shares = (factor[:, None] * logits).softmax(dim=1).numpy()
    whole = np.repeat(["a", "b", "c", "d"], 100).astype(object)
    one = calibration.guarded(shares, labels.numpy(), Places("scenes", whole))
    assert one.temperature == 1.0
    assert not one.helps
    assert one.sentence().startswith(f"No temperature: {one.found:g}, fitted to 400 validation")
    nothing = calibration.guarded(shares[:1], labels.numpy()[:1], _alone(1))
    assert nothing.temperature == 1.0
    assert nothing.sentence().endswith("no sure gain on tiles that it was not fitted to.")


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
