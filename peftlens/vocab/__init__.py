"""The vocabulary table: neighbors, clusters, projections, and tests against nulls."""
