"""A method for peftlens, by another package."""
