"""Input and output: files, downloads, hardware, progress bars and HTML pages."""
