"""MLflow: one run is one pass of the pipeline; ``start`` opens it, ``find`` goes on with it."""

from pipeline.tracking.later import LaterRun
from pipeline.tracking.names import Dataset
from pipeline.tracking.opening import find, start
from pipeline.tracking.reading import throughput
from pipeline.tracking.run import Run

__all__ = ["Dataset", "LaterRun", "Run", "find", "start", "throughput"]
