"""Scoring by log-likelihood, retention suites, and execution of probes."""
