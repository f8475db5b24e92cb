"""Report of a study: one self-contained HTML page, made from its finished files."""
