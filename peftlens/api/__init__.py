"""Public API, `import peftlens as pl`: functions and classes for notebooks and scripts."""
