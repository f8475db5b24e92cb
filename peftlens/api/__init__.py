"""The public API, `import peftlens as pl`: what a notebook or script calls, a file per idea."""
