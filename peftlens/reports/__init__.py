"""The report: finished files in, one self-contained HTML page out."""
