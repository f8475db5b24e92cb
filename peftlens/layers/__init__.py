"""Modules that several methods put into a model; what one method alone needs is in its own file."""
