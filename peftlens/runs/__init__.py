"""Runs on disk: configuration of a run, its folder, and the store of many runs."""
