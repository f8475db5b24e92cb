"""Probe: measure runs and adapters, for notebooks."""

from typing import Any

from peftlens.api.session import session_context
from peftlens.api.table import Table
from peftlens.api.target import Target, open_target
from peftlens.evaluation import probe_runner


def probe(
    target: Target,
    name: str,
    *,
    base_model: str | None = None,
    trust_remote_code: bool = False,
    **options: Any,
) -> Table:
    """Measure runs with a probe; a run's measurement is cached in its folder.

    Example:
        ```python
        pl.probe(run, "forgetting", items=50)
        pl.probe([run, other], "task_accuracy").to_frame()
        pl.probe(pl.load_adapter("org/name", base_model="org/model"), "delta_spectrum").plot()
        ```

    Args:
        target: a run, a list of runs, a study, an adapter, or a folder of any of these.
        name: name of the probe, see `list_probes`.
        base_model: base model of an adapter's folder; by default the one that the adapter names.
        trust_remote_code: whether Python code from a base model's folder may run.
        options: values of the probe's Config.

    Raises:
        InputError: the probe or an option does not exist, or there is no run.
    """
    results = open_target(target, base_model, trust_remote_code=trust_remote_code)
    context = session_context(trust_remote_code=trust_remote_code)
    return Table.of(
        probe_runner.collect(context, results.runs, name, results.configurations, {name: options})
    )
