from __future__ import annotations

from benchmarks.ensembles import ROWS, SEEDS, VIEWS, recipe, row, text
from pipeline.voting import VOTES


def seeds(*accuracies: float) -> list[dict[str, float]]:
    return [{f"{name}/{views}": one for name in ROWS for views in VIEWS} for one in accuracies]


def test_a_row_gives_mean_deviation_and_every_seed() -> None:
    assert row("soft", seeds(0.8, 0.82, 0.84)) == (
        "| soft vote | 82.0 % ± 2.0 | 80.0, 82.0, 84.0 | 82.0 % ± 2.0 | 80.0, 82.0, 84.0 |"
    )


def test_the_page_tells_every_vote_and_the_recipe() -> None:
    page = text(seeds(*(0.8 for _ in SEEDS)), 1.0)
    assert recipe() in page
    for name in VOTES:
        assert f"| {name} vote | 80.0 % ± 0.0 |" in page
    assert "| default network | 80.0 %" in page
