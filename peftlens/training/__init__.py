"""Training a run: plan, data loader, optimizer, loop, and run folder."""
