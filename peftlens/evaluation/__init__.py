"""Scores by log-likelihood, retention, and the runner of probes."""
