"""A run: what a stage can record in it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pipeline import console
from pipeline.tracking.names import DIGEST_LENGTH, Dataset, compared

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from pytorch_lightning.loggers import Logger

BATCH = 1000  # metrics that MLflow takes at once


class Value(NamedTuple):
    """A point of a curve, in the order of MLflow's own."""

    key: str
    value: float
    timestamp: int  # milliseconds since 1970
    step: int


def _forget(client: MlflowClient, run: str, folder: str | None) -> None:
    """Remove a folder of a run's artifacts; MLflow's client can't, its places mostly can."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with suppress(NotImplementedError):
        place = get_artifact_repository(client.get_run(run).info.artifact_uri)
        place.delete_artifacts(folder)  # type: ignore[no-untyped-call]


class Run:
    """One pass of the pipeline, in an MLflow store; without a client, a pass that is not recorded.

    As a context manager it ends the run that it opened: FINISHED, FAILED after an exception,
    KILLED after an interrupt. A run that was found keeps its status. Once a run is open, a store
    that fails costs a warning, never the training: numbers are kept and tried again with the next.
    """

    def __init__(
        self,
        client: MlflowClient | None = None,
        *,
        uri: str = "",
        id: str = "",
        name: str = "",
        opened: bool = False,
        last: Mapping[str, int] | None = None,
    ) -> None:
        self.id, self.name = id, name
        self.uri = uri  # of the store
        self._client = client
        self._opened = opened  # by this process, which therefore ends it
        self._last = last or {}  # step of each curve that an earlier process came to
        self._pending: list[Value] = []
        self._warned = False

    def tag(self, key: str, value: str) -> None:
        """Set a tag; an old value gives way."""
        self._write(lambda client: client.set_tag(self.id, key, value))

    def parameters(self, params: Mapping[str, Any]) -> None:
        """Record the parameters that people compare, and all of them as params.yaml."""

        def write(client: MlflowClient) -> None:
            import yaml
            from mlflow.entities import Param

            whole = Path("params.yaml")
            text = whole.read_text() if whole.is_file() else yaml.safe_dump({**params})
            client.log_text(self.id, text, "params.yaml")
            pairs = compared(params).items()
            client.log_batch(self.id, params=[Param(key, value) for key, value in pairs])

        self._write(write)

    def dataset(self, data: Dataset) -> None:
        """Record what the run was trained on."""

        def write(client: MlflowClient) -> None:
            from mlflow.entities import Dataset as Entity
            from mlflow.entities import DatasetInput, InputTag

            digest, source = data.digest[:DIGEST_LENGTH], json.dumps({"uri": data.source})
            entity = Entity(data.name, digest, "local", source, data.schema, data.profile)
            used = DatasetInput(entity, tags=[InputTag("mlflow.data.context", "training")])
            client.log_inputs(self.id, datasets=[used])

        self._write(write)

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Record numbers; with steps (epochs, counted from 1), a curve.

        Training that goes on repeats the epochs after its checkpoint: what the run has is left out.
        """
        self._take(values, step)
        self._flush()

    def curves(self, values: Mapping[str, Sequence[float]]) -> None:
        """Record whole curves, whose steps are counted from 1."""
        for step, row in enumerate(zip(*values.values(), strict=True), start=1):
            self._take(dict(zip(values, row, strict=True)), step)
        self._flush()

    def _take(self, values: Mapping[str, float], step: int | None) -> None:
        now = int(time.time() * 1000)
        self._pending += [Value(key, float(v), now, step or 0) for key, v in values.items()]

    def artifact(self, path: Path | str, folder: str | None = None, *, anew: bool = False) -> None:
        """Keep a copy of a file, or of a folder's content, in a folder of the run.

        ``anew`` removes what was kept in that folder before, where the place of the artifacts can.
        """
        source = Path(path).resolve(strict=True)

        def write(client: MlflowClient) -> None:
            if anew:
                _forget(client, self.id, folder)
            put = client.log_artifacts if source.is_dir() else client.log_artifact
            put(self.id, str(source), folder)

        self._write(write)

    def figure(self, path: Path | str) -> None:
        """Keep a copy of a picture."""
        self.artifact(path, "figures")

    def finish(self, status: str = "FINISHED") -> None:
        """End the run if this process opened it: FINISHED, FAILED or KILLED."""
        self._flush()
        if self._pending:
            console.warn(f"MLflow at {self.uri} never took {len(self._pending)} values.")
        if self._opened:
            self._write(lambda client: client.set_terminated(self.id, status))
        self._opened = False

    def check(self) -> None:
        """Raise what keeps the run from being recorded: nothing does, once it is open."""

    def lightning_logger(self, member: str = "") -> Logger:
        """A Lightning logger that writes to this very run; of an ensemble's member, by its name."""
        from pipeline.tracking.lightning import RunLogger

        return RunLogger(self, member)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.end(error)

    def end(self, error: BaseException | None = None) -> None:
        """End the run as what it came to: an interrupt is no ``Exception``."""
        broken = "FAILED" if isinstance(error, Exception) else "KILLED"
        self.finish("FINISHED" if error is None else broken)

    def _flush(self) -> None:
        def write(client: MlflowClient) -> None:
            from mlflow.entities import Metric

            new = [v for v in self._pending[:BATCH] if not 0 < v.step <= self._last.get(v.key, 0)]
            client.log_batch(self.id, [Metric(*value) for value in new])

        while self._pending and self._write(write):
            del self._pending[:BATCH]

    def _write(self, write: Callable[[MlflowClient], object]) -> bool:
        """Whether it went well; nothing is written, and all is well, without a client."""
        if self._client is None:
            return True
        from mlflow.exceptions import MlflowException

        try:
            write(self._client)
        except (MlflowException, OSError) as error:
            if not self._warned:
                reason = str(error).strip().splitlines()[0][:200]
                console.warn(f"MLflow at {self.uri} fails, the run goes on: {reason}")
            self._warned = True
            return False
        return True
