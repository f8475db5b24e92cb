"""Studies, which are grids of runs: configuration, scheduling, workers and pools."""
