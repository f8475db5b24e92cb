"""Explorer: an interactive map of the vocabulary with trained vectors and logit shifts."""
