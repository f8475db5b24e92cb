"""Data of tasks: examples, formatting, tokenization and collation."""
