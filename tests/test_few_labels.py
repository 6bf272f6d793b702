from __future__ import annotations

import re

import pytest

from benchmarks.few_labels import COUNTS, RESULT, SEEDS, Pair, interval, row, text, verdict


def pairs(*gains: float) -> list[Pair]:
    return [Pair(0.5 + i / 50, 0.5 + i / 50 + gain / 100) for i, gain in enumerate(gains)]


def test_the_interval_is_student_s() -> None:
    # Mean 2, deviation 1; t of two degrees of freedom is 4.302653.
    half = 4.302653 / 3**0.5
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2 - half, 2 + half), abs=1e-5)


def test_a_row_gives_means_deviations_and_every_difference() -> None:
    assert row(5, pairs(1.0, 2.0, 3.0)) == (
        "| 5 | 52.0 % ± 2.0 | 54.0 % ± 3.0 | +2.0 ± 1.0 | +1.0, +2.0, +3.0 | -0.5 to +4.5 |"
    )


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ((1.0, 1.1, 1.2), "a gain that is more than chance.*: \\+1.1 with 5 tiles a class"),
        ((-1.0, -1.1, -1.2), "a loss that is more than chance"),
        ((-1.0, 0.1, 1.0), "nothing that could be told from chance.*: none"),
    ],
)
def test_the_verdict_says_what_the_numbers_bear(gains: tuple[float, ...], words: str) -> None:
    assert re.search(words, verdict({5: pairs(*gains), 10: pairs(*gains)}))


def test_the_table_that_is_kept_is_the_command_s() -> None:
    kept = RESULT.read_text(encoding="utf-8")
    shape = text({count: pairs(*range(1, 1 + len(SEEDS))) for count in COUNTS}, 1.0)
    assert kept.splitlines()[:6] == shape.splitlines()[:6]
    rows = [line for line in kept.splitlines() if re.match(r"\| \d", line)]
    assert [int(line.split("|")[1]) for line in rows] == list(COUNTS)
