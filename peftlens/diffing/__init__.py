"""Model diffing: what tuning changed inside, read by tokens and words, with nulls."""
