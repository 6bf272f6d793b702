from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline import ballots, calibration, metrics, results
from pipeline.ensemble import Member
from pipeline.places import Places
from pipeline.resampling import Resampling

FACTS = (Member("lenet", 0, 0.5), Member("vgg", 7, 1.0))
ACTUAL = np.array([0, 1, 1, 0])
MEMBERS = [
    np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], np.float32),  # right: 0, 2
    np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.4, 0.6]], np.float32),  # right: 0, 1, 2
]


# Tiles 0 and 1 lie in one place, tiles 2 and 3 in another.
AGAIN = Resampling.of(Places("blocks", np.array(["a", "a", "b", "b"], object)))


def compared(
    facts: tuple[Member, ...] = FACTS, members: list[Any] = MEMBERS, temperature: float = 1.0
) -> dict[str, Any]:
    votes = {kind: (one, temperature) for kind, one in ballots.votes(members, facts).items()}
    return ballots.compare(facts, members, votes, ACTUAL, AGAIN)


def found() -> dict[str, Any]:
    return {"vote": "soft", "tta": "none"} | compared()


def test_the_figures_of_two_members() -> None:
    given = found()
    assert list(given) == ["vote", "tta", "members", "mean", "votes", "diversity"]
    members, votes, differing = (given[key] for key in ("members", "votes", "diversity"))
    assert members["member0"]["model"] == "lenet"
    assert [members[f"member{i}"]["accuracy"] for i in (0, 1)] == [0.5, 0.75]
    assert [members[f"member{i}"]["validation_accuracy"] for i in (0, 1)] == [0.5, 1.0]
    assert given["mean"]["accuracy"] == 0.625
    # Means of tile 1: (0.35, 0.65), right; of tile 3: (0.35, 0.65), wrong.
    assert votes["soft"]["accuracy"] == 0.75
    assert list(votes) == ["soft", "hard", "weighted"]
    # Both right on two tiles, the second alone on one, neither on one: Q = 1.
    assert differing["disagreement"] == 0.25
    assert differing["q"] == 1.0
    assert differing["pairs"] == {"0-1": {"disagreement": 0.25, "q": 1.0}}
    assert differing["most_disagreement"] == pytest.approx(0.75)


def test_a_weighted_vote_listens_to_the_better_member() -> None:
    weighted = ballots.votes(MEMBERS, FACTS)["weighted"]
    np.testing.assert_allclose(weighted, (MEMBERS[0] + 2 * MEMBERS[1]) / 3, rtol=1e-5)


def test_rows_sentences_and_names() -> None:
    given = found()
    rows = ballots.rows(given)
    assert list(rows) == [
        "0: lenet", "1: vgg", "mean of members", "soft vote (counts)", "hard vote", "weighted vote",
    ]  # fmt: skip
    told = " ".join(ballots.sentences(given))
    assert "one is right and one wrong on 25.0% of tiles in the mean, with a Q of 1.00" in told
    assert "right on 62.5% of tiles can disagree on 75.0% at most" in told
    flat = ballots.flat(given, "test")
    assert flat["test_accuracy/member1"] == 0.75
    assert flat["test_accuracy/soft"] == 0.75
    assert flat["test_accuracy/mean"] == 0.625
    assert flat["test_q"] == 1.0
    assert flat["test_members_brier"] == given["diversity"]["brier"]
    assert "test_brier" not in flat  # that of the whole


def test_no_number_of_the_members_hides_one_of_the_whole() -> None:
    summary = {"accuracy": 0.7, "brier": 0.4, "ensemble": found()}
    flat = results.flat(summary, "test")
    assert (flat["test_accuracy"], flat["test_brier"]) == (0.7, 0.4)
    with pytest.raises(AssertionError, match="would hide"):
        results.flat({**summary, "q": 0.1}, "test")


def test_each_is_measured_with_the_temperature_that_is_its_own() -> None:
    warm = compared((replace(FACTS[0], temperature=0.5), FACTS[1]), temperature=2.0)
    cold = compared()
    for name, temperature, shares in (("member0", 0.5, MEMBERS[0]), ("member1", 1.0, MEMBERS[1])):
        row = warm["members"][name]
        scaled = calibration.tempered(shares, temperature)
        assert row["temperature"] == temperature
        assert row["nll"] == pytest.approx(metrics.nll(scaled, ACTUAL), abs=1e-6)
    assert warm["votes"]["soft"]["nll"] != cold["votes"]["soft"]["nll"]
    assert warm["votes"]["soft"]["accuracy"] == cold["votes"]["soft"]["accuracy"]
    assert warm["diversity"] == cold["diversity"]  # of the members as they vote


def test_an_interval_is_over_places_and_may_be_unknown() -> None:
    members = compared()["members"]
    # Right on one tile of two in either place: no draw differs from another.
    assert members["member0"]["accuracy_ci95"] is None
    low, high = members["member1"]["accuracy_ci95"]  # both in a, one in b
    assert low < 0.75 < high


def test_members_that_are_always_right_have_no_q() -> None:
    sure = [np.eye(2, dtype=np.float32)[ACTUAL]] * 2
    given = compared(FACTS, sure)
    assert given["diversity"]["q"] is None
    assert given["diversity"]["pairs"]["0-1"]["q"] is None
    assert given["diversity"]["most_disagreement"] == 0.0
    assert "without a Q" in ballots.sentences(given)[0]
