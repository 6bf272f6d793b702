"""Speed and memory, as ratios of two ways measured in turn in one run."""
