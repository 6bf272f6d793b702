"""Speed and memory, as ratios of two ways measured in turn in one run."""

import os

# As `python -m pipeline` does, and before torch is imported: else what is measured here would wait
# for its threads otherwise than a stage does, and another process would slow it down many times.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
