"""Speed and memory, as ratios of two ways measured in turn in one run."""

from pipeline.waiting import briefly

briefly()  # as `python -m pipeline` does, and before torch is imported
