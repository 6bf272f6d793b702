"""The figures of an ensemble: each member, each vote, and how much members differ; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import calibration, diversity, metrics, voting
from pipeline.ensemble import Member
from pipeline.measuring import told
from pipeline.metrics import rounded
from pipeline.resampling import Resampling
from pipeline.voting import Vote

Shares = NDArray[np.float32]
Labels = NDArray[np.int64]

MEASURES = ("accuracy", "balanced_accuracy", "macro_f1", "nll", "ece")
COLUMNS = ("validation_accuracy", *MEASURES, "temperature")


def votes(members: Sequence[Shares], facts: Sequence[Member]) -> dict[Vote, Shares]:
    """Probabilities (N, K) of every vote on those of the members, each (N, K), untempered."""
    logs = torch.from_numpy(np.stack(members)).log()
    weights = voting.shares([fact.accuracy for fact in facts])
    return {kind: voting.vote(logs, kind, weights).softmax(dim=1).numpy() for kind in voting.VOTES}


def compare(
    facts: Sequence[Member],
    members: Sequence[Shares],
    votes: Mapping[Vote, tuple[Shares, float]],
    actual: Labels,
    again: Resampling,
) -> dict[str, Any]:
    """What ``reports/metrics.json`` holds under ``ensemble``.

    Each is measured as it would answer alone, with the temperature that belongs to it.

    Args:
        facts: What is known of the members.
        members: Probabilities (N, K) of each, untempered.
        votes: Probabilities (N, K) of each vote by its name, untempered, and its temperature.
        actual: Labels (N,).
        again: Draws of the tiles' places.
    """
    each = [
        measure(one, fact.temperature, actual, again)
        for fact, one in zip(facts, members, strict=True)
    ]
    return {
        "members": {
            f"member{i}": {"model": fact.model, "seed": fact.seed}
            | {"validation_accuracy": rounded(fact.accuracy)}
            | row
            for i, (fact, row) in enumerate(zip(facts, each, strict=True))
        },
        "mean": {key: rounded(fmean(row[key] for row in each)) for key in MEASURES},
        "votes": {name: measure(*vote, actual, again) for name, vote in votes.items()},
        "diversity": differ(np.stack(members), actual),
    }


def rows(found: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Rows of a table, by the name that stands in front: members, their mean, and the votes."""
    shown = {
        f"{name.removeprefix('member')}: {row['model']}": row
        for name, row in found["members"].items()
    }
    shown["mean of members"] = found["mean"]
    for name, row in found["votes"].items():
        shown[f"{name} vote{' (counts)' if name == found['vote'] else ''}"] = row
    return shown


def measure(
    shares: Shares, temperature: float, actual: Labels, again: Resampling
) -> dict[str, Any]:
    """Measures of probabilities (N, K) under a temperature; the accuracy with its interval."""
    warm = calibration.tempered(shares, temperature).astype(np.float32)
    counts = metrics.confusion(actual, warm.argmax(axis=1), warm.shape[1])
    values = (
        metrics.accuracy(counts),
        metrics.balanced_accuracy(counts),
        metrics.macro_f1(counts),
        metrics.nll(warm, actual),
        metrics.ece(warm, actual),
    )
    hits = (warm.argmax(axis=1) == actual).astype(np.float64)
    whole = np.ones(len(hits), bool)
    reach = again.share(hits, whole, again.sums(hits) / again.sums(whole))
    ends = told("accuracy", values[0], reach)
    return (
        dict(zip(MEASURES, map(rounded, values), strict=True)) | ends | {"temperature": temperature}
    )


def differ(members: Shares, actual: Labels) -> dict[str, Any]:
    """How members differ whose probabilities are (M, N, K).

    ``disagreement`` and ``q`` are means over pairs, of Q over those that have one.
    ``most_disagreement`` is what members as accurate as these could reach. ``ambiguity`` is what
    the soft vote has less of a Brier score than ``brier``, the members' mean; both untempered.
    """
    right = members.argmax(axis=2) == actual
    pairs = diversity.pairs(right)
    known = [pair.q for pair in pairs if not np.isnan(pair.q)]
    return {
        "disagreement": rounded(fmean(pair.disagreement for pair in pairs)),
        "most_disagreement": rounded(diversity.most_disagreement(right.mean(axis=1))),
        "q": rounded(fmean(known)) if known else None,
        "brier": rounded(fmean(diversity.brier(one, actual) for one in members)),
        "ambiguity": rounded(diversity.ambiguity(members)),
        "pairs": {
            f"{pair.first}-{pair.second}": {
                "disagreement": rounded(pair.disagreement),
                "q": rounded(pair.q),
            }
            for pair in pairs
        },
    }


def sentences(found: Mapping[str, Any]) -> list[str]:
    """What the figures say of the members, for people."""
    differing, mean = found["diversity"], found["mean"]["accuracy"]
    q = "without a Q" if differing["q"] is None else f"with a Q of {differing['q']:.2f}"
    return [
        f"Of two members one is right and one wrong on {differing['disagreement']:.1%} of tiles in "
        f"the mean, {q}: 1 is to err on the same tiles, 0 independently.",
        f"Members that are right on {mean:.1%} of tiles can disagree on "
        f"{differing['most_disagreement']:.1%} at most: the paradox of diversity, that better "
        "members have less to tell each other.",
        f"Without temperatures, the soft vote's Brier score is the members' mean, "
        f"{differing['brier']:.4f}, less their ambiguity, {differing['ambiguity']:.4f}.",
    ]


def flat(found: Mapping[str, Any], split: str) -> dict[str, float | None]:
    """Numbers by names such as ``test_accuracy/member0``, ``test_accuracy/hard``, ``test_q``."""
    named = {**found["members"], "mean": found["mean"], **found["votes"]}
    values = {f"{split}_{key}/{name}": row[key] for key in MEASURES for name, row in named.items()}
    differing = {key: value for key, value in found["diversity"].items() if key != "pairs"}
    differing["members_brier"] = differing.pop("brier")  # the headline has one of its own
    return values | {f"{split}_{key}": value for key, value in differing.items()}
