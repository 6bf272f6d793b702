"""``python -m benchmarks.stepping``: ``python -m pipeline train`` that prints ``steps N``.

After its first step, and after each so many: another process then sees how far it is, and ends it.
"""

from __future__ import annotations

import sys
from typing import Any

from pipeline.__main__ import main  # before torch: it sets how threads wait
from pipeline.console import say

EVERY = 25


def watch() -> None:
    """Print from now on."""
    from torch.optim.optimizer import register_optimizer_step_post_hook

    taken = 0

    def stepped(*_: Any) -> None:
        nonlocal taken
        taken += 1
        if taken == 1 or taken % EVERY == 0:
            say(f"steps {taken}")

    register_optimizer_step_post_hook(stepped)


if __name__ == "__main__":
    watch()
    sys.exit(main(["train"]))
