"""Layers that several methods add to a model; layers of a single method are in its file."""
