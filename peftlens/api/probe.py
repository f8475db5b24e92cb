"""Run a probe from Python."""

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
    """Measure runs with a probe; a run's measurement is kept in its folder and read the next time.

    Example:
        ```python
        pl.probe(run, "forgetting", items=50)
        pl.probe([run, other], "task_accuracy").to_frame()
        pl.probe(pl.load_adapter("org/name", base_model="org/model"), "delta_spectrum").plot()
        ```

    Args:
        target: a run, a list of runs, a study, an adapter, or a folder of any of these.
        name: name of the probe, see `list_probes`.
        base_model: base model of an adapter's folder; the one that it names by default.
        trust_remote_code: run Python that a base model's folder brings along.
        options: values of the probe's Config.

    Raises:
        InputError: no such probe or option, or there is no run.
    """
    found = open_target(target, base_model, trust_remote_code=trust_remote_code)
    context = session_context(trust_remote_code=trust_remote_code)
    return Table.of(
        probe_runner.collect(context, found.runs, name, found.configurations, {name: options})
    )
