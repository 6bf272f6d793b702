"""What came of a run, read from files: the same whether they lie in MLflow, DVC or a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import metrics, naming
from pipeline.answers import Answers, Labels, measured
from pipeline.errors import ComparisonError
from pipeline.kept import baselines_of, json_of, torn, yaml_of
from pipeline.places import Places
from pipeline.tracking.names import flatten
from pipeline.types import Classes

# File -> folders of a project that hold it; all may lie in one folder too.
FILES = {
    "params.yaml": ".",
    "model.json": "models",
    "metrics.json": "reports",
    "predictions.csv": "reports",
    "probabilities.parquet": "reports",
    "baseline.json": "reports",
}
NO_MEASURES = ("n", "temperature")  # numbers of metrics.json that say nothing of how it does
OF_LAYERS = ("model.layers.", "activation.", "train.member_networks.")
WHERE = ("trainer", "engine", "data", "tracking", "repeat")  # change no result


@dataclass(frozen=True, slots=True)
class Outcome:
    """A run that was measured."""

    name: str
    origin: str  # where it was found, in words
    measures: Mapping[str, Any]  # of metrics.json
    params: Mapping[str, Any] = field(default_factory=dict)  # by dotted key
    answers: Answers | None = None  # None: not kept
    data_digest: str = ""  # of the tiles that it learned from; "": not known
    baselines: Mapping[str, Any] = field(default_factory=dict)  # of baseline.json

    @classmethod
    def read(cls, folder: Path, name: str, origin: str, data_digest: str = "") -> Outcome:
        """Read what there is of ``FILES`` in a project's folder, or in one that holds them all.

        Raises:
            ComparisonError: There are no measures, or not of a network that tells classes; or
                one of the files is torn, or of another run than the others.
        """
        found = files(folder)
        if "metrics.json" not in found:
            raise ComparisonError(
                f"Expected measures of {name} ({origin}), got no metrics.json. Run dvc repro "
                "evaluate there, or compare another run."
            )
        measures = json_of(found["metrics.json"])
        if "accuracy" not in measures:
            raise ComparisonError(
                f"Expected networks that tell classes, got {name} ({origin}), which was measured "
                "by what it draws again. Compare its mse with dvc exp show or make ui."
            )
        if "n" not in measures:
            raise torn(found["metrics.json"], "the number of tiles, n,", "none")
        model = json_of(found["model.json"]) if "model.json" in found else {}
        answers = None
        if "predictions.csv" in found:
            answers = Answers.read(found["predictions.csv"], found.get("probabilities.parquet"))
            _check_classes(answers, measures, found["predictions.csv"])
        return cls(
            name,
            origin,
            measures,
            params_of(found.get("params.yaml"), model),
            answers,
            data_digest or str(model.get("data_digest", "")),
            baselines_of(found["baseline.json"]) if "baseline.json" in found else {},
        )

    @property
    def classes(self) -> list[str]:
        """Names of the classes, in the order of the network's outputs."""
        return list(self.measures.get("per_class", {}))

    @property
    def labels(self) -> tuple[Labels, Labels] | None:
        """The class of each tile (N,) and the one that was found."""
        if self.answers is None:
            return None
        place = {name: k for k, name in enumerate(self.classes)}
        actual, found = (
            np.array([place[name] for name in names.tolist()], np.int64)
            for names in (self.answers.actual, self.answers.predicted)
        )
        return actual, found

    @property
    def counts(self) -> metrics.Counts | None:
        """Confusion matrix (K, K), rows true, columns predicted."""
        labels = self.labels
        return None if labels is None else metrics.confusion(*labels, len(self.classes))

    @property
    def figures(self) -> dict[str, float]:
        """Measures of all tiles by name, those that are known."""
        return {
            name: float(value)
            for name, value in self.measures.items()
            if name not in NO_MEASURES and isinstance(value, int | float)
        }

    def interval(self, name: str) -> tuple[float, float] | None:
        """The 95 % interval of a measure, where it has one."""
        ends = self.measures.get(f"{name}_ci95")
        return None if not ends or None in ends else (float(ends[0]), float(ends[1]))


def pooled(outcomes: Sequence[Outcome], name: str) -> Outcome:
    """Runs as one that were each measured on tiles of their own, as folds of a cross-validation.

    Raises:
        ComparisonError: A tile was measured twice, a run kept no answers, or has other classes.
    """
    for outcome in outcomes[1:]:
        if set(outcome.classes) != set(outcomes[0].classes):
            raise ComparisonError(
                f"Expected runs of {name} with the same classes, got "
                f"{', '.join(outcomes[0].classes)} in {outcomes[0].name} and "
                f"{', '.join(outcome.classes)} in {outcome.name}. Compare them without --pool."
            )
    answers = [outcome.answers for outcome in outcomes if outcome.answers is not None]
    if len(answers) < len(outcomes):
        raise ComparisonError(f"Expected answers of every run of {name}, got runs without.")
    joined = Answers.joined(answers)
    if len(set(joined.ids.tolist())) < len(joined):
        raise ComparisonError(
            f"Expected runs of {name} that were each measured on other tiles, as folds are, got "
            "tiles that were measured twice. Compare them without --pool."
        )
    first, *others = (outcome.params for outcome in outcomes)
    whole = Outcome(
        name,
        f"{len(outcomes)} runs: {', '.join(outcome.name for outcome in outcomes)}",
        outcomes[0].measures,
        {key: value for key, value in first.items() if all(o.get(key) == value for o in others)},
        joined,
        " ".join(sorted(outcome.data_digest for outcome in outcomes)).strip(),
    )
    labels = whole.labels
    assert labels is not None, "it has answers"
    places = Places.alone(joined.ids.tolist())
    if joined.places is not None:
        places = Places("places", np.where(joined.places == "", joined.ids, joined.places))
    return replace(whole, measures=measured(*labels, Classes(tuple(whole.classes)), places))


def files(folder: Path) -> dict[str, Path]:
    """Those of ``FILES`` that are there, by name."""
    places = {name: (folder / name, folder / home / name) for name, home in FILES.items()}
    return {
        name: next(path for path in paths if path.is_file())
        for name, paths in places.items()
        if any(path.is_file() for path in paths)
    }


def _check_classes(answers: Answers, measures: Mapping[str, Any], path: Path) -> None:
    known = measures.get("per_class", {})
    named = {*answers.actual.tolist(), *answers.predicted.tolist()}
    if unknown := sorted(named - known.keys()):
        classes = f"the classes of metrics.json ({', '.join(known) or 'none'})"
        raise torn(path, f"{classes} and no other", ", ".join(unknown))


def params_of(path: Path | None, model: Mapping[str, Any]) -> dict[str, Any]:
    """What the run was made with; a bundle knows its own."""
    whole = model.get("parameters") or {}
    if path is not None:
        whole = yaml_of(path)
    told = dict(flatten({key: value for key, value in whole.items() if key not in WHERE}))
    if "model.name" in told:
        told["model.name"] = naming.together(naming.models(whole))
    return told


def differing(outcomes: Sequence[Outcome]) -> dict[str, list[str]]:
    """Parameters that differ: the value in each run; what a run does not have is left empty.

    Layers are told where the networks have one name, and are a variation of each other.
    """
    known = [outcome for outcome in outcomes if outcome.params]
    names = {outcome.params.get("model.name") for outcome in known}
    keys = dict.fromkeys(key for outcome in known for key in outcome.params)
    told = {}
    for key in keys:
        if key.startswith(OF_LAYERS) and len(names) > 1:
            continue
        if len({_shown(outcome.params.get(key, "")) for outcome in known}) > 1:
            told[key] = [_shown(outcome.params.get(key, "")) for outcome in outcomes]
    return told


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
