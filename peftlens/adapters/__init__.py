"""Trained weights: read, load, merge, switch, compare and truncate them."""
