"""Training of runs: plan, data loader, optimizer, loop, and run folder."""
