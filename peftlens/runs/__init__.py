"""A run on disk: its configuration, its folder, and the store that holds many."""
