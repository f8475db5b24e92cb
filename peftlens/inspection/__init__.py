"""What an adapter is and whether it is sound."""
