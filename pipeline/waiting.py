"""How the threads of torch wait for each other."""

from __future__ import annotations

import os

# GNU's OpenMP, which torch has on Linux, looks at a flag so often before a thread goes to sleep.
# To wake a thread takes longer than many an operation on a batch of small tiles; but a thread that
# looks on for long takes the core of another process, as its default of 300,000 does. In between
# both are mild: `python -m benchmarks waiting`.
LOOKS = "2000"


def briefly() -> None:
    """Wait awake for a moment, then asleep, unless the user has said how; before torch is there.

    What knows nothing of so short a moment sleeps at once.
    """
    if not os.environ.get("OMP_WAIT_POLICY"):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", LOOKS)
