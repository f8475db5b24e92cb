"""Data frames of the installed methods, tasks, probes and claims."""

import pandas as pd

from peftlens import registry
from peftlens.registry import Description, Kind


def list_methods() -> pd.DataFrame:
    """List the fine-tuning methods: family, source, and the quantities exposed to probes.

    Example:
        ```python
        methods = pl.list_methods()
        methods[methods["family"] == "soft prompt"]
        ```
    """
    return _frame("methods", family="FAMILY", exposes="EXPOSES", learning_rate="LEARNING_RATE")


def list_tasks() -> pd.DataFrame:
    """List the built-in tasks; files, hub data sets and data frames are tasks, too.

    Example:
        ```python
        pl.list_tasks()
        ```
    """
    return _frame("tasks")


def list_probes() -> pd.DataFrame:
    """List the probes: required quantities of a method, and probes whose tables each one reads.

    Example:
        ```python
        pl.list_probes().query("requires == 'delta_weight'")
        ```
    """
    return _frame("probes", requires="REQUIRES", inputs="INPUTS")


def list_claims() -> pd.DataFrame:
    """List the claims that a report judges, and the probes needed for each.

    Example:
        ```python
        pl.list_claims()[["name", "claim", "needs"]]
        ```
    """
    return _frame("claims", claim="CLAIM", needs="NEEDS")


def _frame(kind: Kind, **constants: str) -> pd.DataFrame:
    """Tabulate the plug-ins: name, constants of the module, summary and paper."""
    plugins = [registry.describe(kind, name) for name in registry.names(kind)]
    return pd.DataFrame(
        {
            "name": [one.name for one in plugins],
            **{key: [_text(one, name) for one in plugins] for key, name in constants.items()},
            "summary": [one.summary for one in plugins],
            "source": [one.source for one in plugins],
        }
    )


def _text(one: Description, constant: str) -> object:
    """Return a constant's value; a collection as text, separated by commas."""
    value = one.constants.get(constant)
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(sorted(map(str, value)))
    return "" if value is None else value
