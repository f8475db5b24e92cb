"""Tasks, one file per data set or source; the file name is the task's name."""
