"""The explorer: a map of the vocabulary with what was trained on it."""
