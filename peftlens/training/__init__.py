"""Training a run: plan, data, optimizer, loop, and what is written."""
