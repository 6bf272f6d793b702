"""``python -m pipeline ui``: MLflow's UI, and the link that opens the runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from pipeline import console
from pipeline.tracking.client import DEFAULTS, connect, reaching
from pipeline.tracking.place import artifact_location, tracking_uri

HOST = "127.0.0.1"
PORT = 5000


def link(address: str, experiment: str) -> str:
    """The page of an experiment's runs; without ``workflowType`` the UI opens on traces."""
    return f"{address.rstrip('/')}/#/experiments/{experiment}?workflowType=machine_learning"


def command(uri: str, port: int = PORT) -> list[str]:
    """The server over a database; it reads artifacts from where each experiment says."""
    serve = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    store = ["--backend-store-uri", uri, "--artifacts-destination", artifact_location(uri) or ""]
    return [*serve, *store, "--workers", "1"]


def environment() -> Mapping[str, str]:
    """Without telemetry, and without the eight processes that judge language models."""
    return {**DEFAULTS, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}


def settings() -> tuple[str, str]:
    """The store's URI and the experiment's name, as params.yaml has them."""
    import yaml

    written = Path("params.yaml")
    section = yaml.safe_load(written.read_text())["tracking"] if written.is_file() else {}
    return tracking_uri(section.get("uri")), section.get("experiment", "quadband")


def serve(port: int = PORT) -> None:
    """Become the server; where the store is a server already, only tell its link."""
    uri, name = settings()
    with reaching(uri):
        _, experiment = connect(uri, name)
    serving = artifact_location(uri) is None
    console.say(f"The runs: {link(uri if serving else f'http://{HOST}:{port}', experiment)}")
    if not serving:
        os.execve(sys.executable, command(uri, port), environment())
