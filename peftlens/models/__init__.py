"""Base models: loading, architecture, snapshots, and partial forward passes."""
