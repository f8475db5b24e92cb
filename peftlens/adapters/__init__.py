"""Adapters: reading, saving, attaching, merging, switching, comparing and truncating them."""
