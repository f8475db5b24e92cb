"""Results of a study: tables, sweeps, failures and invocations."""
