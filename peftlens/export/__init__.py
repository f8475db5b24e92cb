"""A study's results in the forms that papers, repositories and other tools take."""
