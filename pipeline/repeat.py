"""``python -m pipeline repeat``: the same again with another fold or seed, and what the runs share.

Each repetition is an experiment of DVC, run in a copy of the project, and a run of MLflow.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from pipeline import console
from pipeline.comparison.command import show
from pipeline.comparison.finding import experiments, of_revision
from pipeline.comparison.outcome import Outcome, params_of
from pipeline.config import compose, validate
from pipeline.errors import ConfigError, TrainingError
from pipeline.tracking.place import project_root

TARGET = "evaluate"  # the stage that measures; maps and pictures are made where they are looked at


def repeat(overrides: Sequence[str], *, name: str | None = None, force: bool = False) -> None:
    """Run ``repeat.times`` experiments; print mean and deviation, and write the comparison.

    What has the name and the parameters of a repetition already is taken as it is.

    Args:
        overrides: Of ``conf/``, ``experiment=kfold`` or ``experiment=seeds`` among them.
        name: Of the experiments, before their number; None: network and key, as ``vgg-fold``.
        force: Run them all again.

    Raises:
        ConfigError: There is nothing to repeat over, or another experiment has the name.
        TrainingError: A run failed.
    """
    content = yaml.safe_load(compose(overrides))
    params = validate(content, overrides)
    over, times = params.repeat.over, params.repeat.times
    if over is None:
        raise ConfigError(
            "Expected what to repeat over, got repeat.over=null. Add experiment=kfold, "
            "experiment=seeds or repeat.over=train.seed to the overrides."
        )
    prefix = name or f"{params.model.name}-{over.rpartition('.')[2]}"
    runs = {f"{prefix}-{k}": [*overrides, f"{over}={k}"] for k in range(times)}
    compose([*overrides, f"{over}={times - 1}"])  # a key that is none is told before anything runs
    done = _done(runs, force=force)
    for number, (run, changes) in enumerate(runs.items(), 1):
        if run not in done:
            console.say(f"{run}: {number} of {times}, {changes[-1]}")
            _run(run, changes)
    show([done.get(run) or _found(run) for run in runs], summary=True)


def _done(runs: dict[str, list[str]], *, force: bool) -> dict[str, Outcome]:
    """Those that are there from before."""
    known = [run for run in experiments() if run in runs]
    if force:
        if known:
            _dvc("exp", "remove", *known)
        return {}
    done = {}
    for run in known:
        found = _found(run)
        if found.params != params_of(None, {"parameters": yaml.safe_load(compose(runs[run]))}):
            raise ConfigError(
                f"Expected a name that is free, got experiment {run} with other parameters. Give "
                "another with --name, or run it again with --force."
            )
        console.say(f"{run}: taken as it is")
        done[run] = found
    return done


def _found(run: str) -> Outcome:
    found = of_revision(run)
    if found is None:
        raise TrainingError(f"Expected an experiment {run} of DVC, got none. Look at dvc exp show.")
    return found


def _run(run: str, changes: Sequence[str]) -> None:
    settings = [part for change in changes for part in ("-S", change)]
    if status := _dvc("exp", "run", "--temp", "-n", run, *settings, TARGET):
        raise TrainingError(
            f"Expected experiment {run} to end well, got status {status}; what it said is above. "
            "Mend that and repeat: what is done is taken as it is."
        )


def _dvc(*arguments: str) -> int:
    """Run DVC in the project, with this very Python for its stages; its status."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, cwd=project_root(), env={**os.environ, "PATH": path})
    return done.returncode
