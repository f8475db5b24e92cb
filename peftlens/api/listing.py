"""Data frames of the methods, tasks, probes and claims that are installed."""

import pandas as pd

from peftlens import registry
from peftlens.registry import Description, Kind


def list_methods() -> pd.DataFrame:
    """List the fine-tuning methods: family, source, what probes may ask of each.

    Example:
        ```python
        methods = pl.list_methods()
        methods[methods["family"] == "soft prompt"]
        ```
    """
    return _frame("methods", family="FAMILY", exposes="EXPOSES", learning_rate="LEARNING_RATE")


def list_tasks() -> pd.DataFrame:
    """List the tasks that are built in; a file, a hub data set or a data frame is one too.

    Example:
        ```python
        pl.list_tasks()
        ```
    """
    return _frame("tasks")


def list_probes() -> pd.DataFrame:
    """List the probes: what each requires of a method, and which other probes it reads.

    Example:
        ```python
        pl.list_probes().query("requires == 'delta_weight'")
        ```
    """
    return _frame("probes", requires="REQUIRES", inputs="INPUTS")


def list_claims() -> pd.DataFrame:
    """List the claims that a report judges, and the probes that each needs.

    Example:
        ```python
        pl.list_claims()[["name", "claim", "needs"]]
        ```
    """
    return _frame("claims", claim="CLAIM", needs="NEEDS")


def _frame(kind: Kind, **constants: str) -> pd.DataFrame:
    """A row for each plug-in: its name, constants of its module, summary and paper."""
    found = [registry.describe(kind, name) for name in registry.names(kind)]
    return pd.DataFrame(
        {
            "name": [one.name for one in found],
            **{key: [_text(one, name) for one in found] for key, name in constants.items()},
            "summary": [one.summary for one in found],
            "source": [one.source for one in found],
        }
    )


def _text(one: Description, constant: str) -> object:
    """A constant's value; a collection as its members by commas."""
    value = one.constants.get(constant)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(sorted(map(str, value)))
    return "" if value is None else value
