"""Vocabulary of a base model: nearest neighbors, clusters, projections, and tests against nulls."""
