"""Inspection of an adapter: its type and size, defects, and effects on the base model."""
