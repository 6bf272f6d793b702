"""Where runs are recorded, and by which process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

# The rank of a process among all (torchrun, SLURM), among those of its machine, and the rank of
# its machine: whichever is set and not zero, another process logs.
RANKS = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID")
SQLITE = "sqlite:///"


def rank_zero(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the one that logs."""
    if "TORCHELASTIC_RUN_ID" in environment:
        return environment["RANK"] == "0"  # torchrun's; SLURM may count its machines otherwise
    return all(environment.get(name, "0") == "0" for name in RANKS)


def project_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The root of the project, not of the copy that DVC makes of it for a queued experiment."""
    if root := environment.get("DVC_ROOT"):
        return Path(root).resolve()
    here = Path.cwd()
    return next((place for place in (here, *here.parents) if (place / ".dvc").is_dir()), here)


def tracking_uri(wanted: str | None, environment: Mapping[str, str] = os.environ) -> str:
    """``tracking.uri``, else MLFLOW_TRACKING_URI, else ``mlflow.db`` in the project's root.

    A relative path of an sqlite file counts from the project's root, so that a queued experiment
    does not write into its copy.
    """
    uri = wanted or environment.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db"
    if not uri.startswith(SQLITE):
        return uri
    return f"{SQLITE}{project_root(environment) / uri.removeprefix(SQLITE)}"


def database_file(uri: str) -> Path | None:
    """The file behind an sqlite URI; None for a server or another database."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def artifact_location(uri: str) -> str | None:
    """Beside the sqlite file, or in the project's root; None where a server decides."""
    if uri.startswith(("http://", "https://", "databricks")):
        return None
    database = database_file(uri)
    folder = database.parent if database else project_root()
    return (folder / "mlartifacts").as_uri()
