from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import TrainingError
from pipeline.tasks.range_test import Sweep, read

SWEEP = Sweep(1e-6, 1.0, 241)  # 40 steps a power of ten


def test_a_sweep_rises_by_the_same_factor_from_end_to_end() -> None:
    rates = np.array([SWEEP.rate(step) for step in range(SWEEP.steps)])
    assert rates[[0, 40, -1]] == pytest.approx([1e-6, 1e-5, 1.0])
    assert rates[1:] / rates[:-1] == pytest.approx(np.full(240, 10 ** (1 / 40)))


def curve(noise: float = 0.0) -> NDArray[np.float64]:
    """Falls from 2 to 1 about 1e-4, and rises above 1e-2."""
    power = np.linspace(-6, 0, SWEEP.steps)
    made = 2 - 1 / (1 + np.exp(-4 * (power + 4))) + np.exp(3 * (power + 2)) / 50
    grain = noise * np.random.default_rng(0).standard_normal(len(made))
    return np.asarray(made + grain)


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_rates_are_read_off_a_known_curve(noise: float) -> None:
    found = read(SWEEP, curve(noise).tolist())
    at_least = curve()[found.rates == found.least].item()
    assert at_least == pytest.approx(curve().min(), abs=0.01 + noise)
    assert (found.staying, found.peak) == (found.least / 10, found.least / 3)
    assert len(found.rates) == len(found.losses) == len(found.smooth) == SWEEP.steps


@pytest.mark.parametrize("losses", [[], [1.0, 2.0, 4.0, 9.0, 30.0]])
def test_a_loss_that_never_falls_is_one_sentence(losses: list[float]) -> None:
    with pytest.raises(TrainingError, match=r"falls at some rate from 1e-06 to 1.*Lower --start"):
        read(SWEEP, losses)
