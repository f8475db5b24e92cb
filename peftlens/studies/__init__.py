"""A grid of runs: configuration, scheduling, workers and pools."""
