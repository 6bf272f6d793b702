from __future__ import annotations

import numpy as np
import pytest

from pipeline import ballots
from pipeline.ensemble import Member

FACTS = (Member("lenet", 0, 0.5), Member("vgg", 7, 1.0))
ACTUAL = np.array([0, 1, 1, 0])
MEMBERS = [
    np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], np.float32),  # right: 0, 2
    np.array([[0.8, 0.2], [0.1, 0.9], [0.4, 0.6], [0.4, 0.6]], np.float32),  # right: 0, 1, 2
]


def found() -> dict[str, object]:
    votes = ballots.votes(MEMBERS, FACTS)
    return {"vote": "soft", "tta": "none"} | ballots.compare(FACTS, MEMBERS, votes, ACTUAL)


def test_the_figures_of_two_members() -> None:
    given = found()
    assert list(given) == ["vote", "tta", "members", "mean", "votes", "diversity"]
    members, votes, differing = (given[key] for key in ("members", "votes", "diversity"))
    assert isinstance(members, dict)
    assert isinstance(votes, dict)
    assert isinstance(differing, dict)
    assert members["member0"]["model"] == "lenet"
    assert [members[f"member{i}"]["accuracy"] for i in (0, 1)] == [0.5, 0.75]
    assert [members[f"member{i}"]["validation_accuracy"] for i in (0, 1)] == [0.5, 1.0]
    assert given["mean"]["accuracy"] == 0.625  # type: ignore[index]
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


def test_members_that_are_always_right_have_no_q() -> None:
    sure = [np.eye(2, dtype=np.float32)[ACTUAL]] * 2
    given = ballots.compare(FACTS, sure, ballots.votes(sure, FACTS), ACTUAL)
    assert given["diversity"]["q"] is None
    assert given["diversity"]["pairs"]["0-1"]["q"] is None
    assert given["diversity"]["most_disagreement"] == 0.0
    assert "without a Q" in ballots.sentences(given)[0]
