"""Base models, what is attached to them, and the views of them that probes ask for."""
