"""A run that is opened beside what its stage does: the first step need not wait for MLflow.

MLflow takes a second or two to import, and seconds more to make its tables in a new store.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from pipeline.tracking.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient

# A thread that torch gave the interpreter back from waits as long for it, 5 ms by default, after
# each operation of a batch: a first step took half a second longer.
SWITCH = 5e-4
USUAL = sys.getswitchinterval()


class LaterRun(Run):
    """Becomes the run that a thread opens; whatever is written waits for it.

    An error of the opening comes from the first writing, or from ``check`` before that.
    """

    def __init__(self, opening: Callable[[], Run]) -> None:
        super().__init__()
        thread = ThreadPoolExecutor(1, thread_name_prefix="tracking")
        self._opening = thread.submit(_aside, opening)
        thread.shutdown(wait=False)

    def check(self) -> None:
        """Raise what kept the run from being opened, if anything is known by now."""
        if self._opening.done():
            self._arrive()

    def finish(self, status: str = "FINISHED") -> None:
        """End the run; where it could not be opened, the error that ends the stage says so.

        A signal ends the waiting for it: then the thread ends the run as soon as it is open.
        """
        try:
            failed = self._opening.exception()
        except KeyboardInterrupt:
            self._opening.add_done_callback(partial(_end, status=status))
            raise
        if status == "FINISHED" or failed is None:
            self._arrive()
            super().finish(status)

    def _write(self, write: Callable[[MlflowClient], object]) -> bool:
        self._arrive()
        return super()._write(write)

    def _arrive(self) -> None:
        run = self._opening.result()
        if self._client is None:
            self.id, self.name, self.uri = run.id, run.name, run.uri
            self._client, self._opened, self._last = run._client, run._opened, run._last


def _end(opening: Future[Run], status: str) -> None:
    if opening.exception() is None:
        opening.result().finish(status)


def _aside(opening: Callable[[], Run]) -> Run:
    """Open a run without keeping the other threads waiting."""
    sys.setswitchinterval(SWITCH)
    try:
        return opening()
    finally:
        sys.setswitchinterval(USUAL)
