"""Files, downloads, hardware, progress and pages: what touches the machine."""
