"""Linear algebra, resampling, continual-learning metrics and rounding, on NumPy and SciPy alone."""
