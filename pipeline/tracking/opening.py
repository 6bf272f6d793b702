"""Runs are opened by the stage that trains, and found again by those after it."""

from __future__ import annotations

import getpass
import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline import console
from pipeline.tracking.client import connect, reaching
from pipeline.tracking.names import Dataset, run_name
from pipeline.tracking.place import project_root, rank_zero, tracking_uri
from pipeline.tracking.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipeline.schema import TrackingSection

NEWEST = 50  # runs of the same weights that are looked through for one of this experiment


def start(
    tracking: TrackingSection,
    *,
    params: Mapping[str, Any],
    overrides: Sequence[str] = (),
    data: Dataset | None = None,
    training: str = "",
    again: bool = False,
    donor: str = "",
    command: str = "",
) -> Run:
    """Open a run with its parameters, tags and data.

    Args:
        tracking: Where.
        params: What the run was made with.
        overrides: How that differs from the defaults.
        data: What it learns from.
        training: What a training is known by.
        again: Whether it was broken off: its run, which never finished, is opened again.
        donor: Digest of the weights that it starts from.
        command: Whose run it is, if it is no pass of the pipeline; its name begins with that.

    Raises:
        TrackingError: The store can't be reached or used.
    """
    if not tracking.enabled or not rank_zero():
        return Run()
    uri = tracking_uri(tracking.uri)
    with reaching(uri):
        client, experiment = connect(uri, tracking.experiment)
        if again and (run := _unfinished(client, uri, experiment, training)):
            return run
        run = _open(client, uri, experiment, params, overrides, data, command)
    for key, value in (("training", training), ("donor", donor), ("command", command)):
        if value:
            run.tag(key, value)
    return run


def _unfinished(client: MlflowClient, uri: str, experiment: str, training: str) -> Run | None:
    wanted = f"tags.training = '{training}' and attributes.status != 'FINISHED'"
    found = client.search_runs([experiment], wanted, max_results=1)  # the newest
    if not found:
        return None
    info = found[0].info
    client.update_run(info.run_id, status="RUNNING")
    last = {key: _last_step(client, info.run_id, key) for key in found[0].data.metrics}
    return Run(client, uri=uri, id=info.run_id, name=info.run_name, opened=True, last=last)


def _last_step(client: MlflowClient, run: str, key: str) -> int:
    return max(point.step for point in client.get_metric_history(run, key))


def find(
    tracking: TrackingSection,
    model_digest: str,
    *,
    params: Mapping[str, Any] | None = None,
    overrides: Sequence[str] = (),
) -> Run:
    """Find the newest run of these weights, this DVC experiment's before those of others.

    Where there is none (another store, or one that was cleared) a new run is opened, with
    ``params`` if they are given.

    Raises:
        TrackingError: The store can't be reached or used.
    """
    if not tracking.enabled or not rank_zero():
        return Run()
    uri = tracking_uri(tracking.uri)
    with reaching(uri):
        client, experiment = connect(uri, tracking.experiment)
        if run := newest(client, uri, experiment, model_digest):
            return run
        run = _open(client, uri, experiment, params or {}, overrides, None)
    run.tag("model_digest", model_digest)
    console.say(f"MLflow has no run of weights {model_digest[:12]}: opened a new one, {run.name}.")
    return run


def newest(client: MlflowClient, uri: str, experiment: str, model_digest: str) -> Run | None:
    """The newest run of these weights, this DVC experiment's before those of others."""
    wanted = f"tags.model_digest = '{model_digest}'"
    found = client.search_runs([experiment], wanted, max_results=NEWEST)  # newest first
    if not found:
        return None
    here = os.environ.get("DVC_EXP_NAME")
    best = next((run for run in found if run.data.tags.get("dvc_experiment") == here), found[0])
    return Run(client, uri=uri, id=best.info.run_id, name=best.info.run_name)


def _open(
    client: MlflowClient,
    uri: str,
    experiment: str,
    params: Mapping[str, Any],
    overrides: Sequence[str],
    data: Dataset | None,
    command: str = "",
) -> Run:
    name = os.environ.get("DVC_EXP_NAME") or run_name(params, overrides)
    name = f"{command} {name}" if command else name
    made = client.create_run(experiment, run_name=name, tags=_tags(overrides, data))
    run = Run(client, uri=uri, id=made.info.run_id, name=name, opened=True)
    if params:
        run.parameters(params)
    if data:
        run.dataset(data)
    return run


def _tags(overrides: Sequence[str], data: Dataset | None) -> dict[str, str]:
    tags = {
        "dvc_experiment": os.environ.get("DVC_EXP_NAME", ""),
        # A queued experiment runs on a temporary commit; what it started from can be looked up.
        "mlflow.source.git.commit": os.environ.get("DVC_EXP_BASELINE_REV") or _commit(),
        "mlflow.user": _user(),
        "overrides": shlex.join(overrides),
        "data_digest": data.digest if data else "",
    }
    return {key: value for key, value in tags.items() if value}


def _commit() -> str:
    """The commit of the working tree; nothing where there is no git or no commit."""
    command = ["git", "-C", str(project_root()), "rev-parse", "--verify", "--quiet", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container may run as a number without a name
        return ""
