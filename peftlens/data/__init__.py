"""Tasks as examples, formatted, tokenized and collated."""
