"""Adapters that any program trained, and runs: open, inspect, compare, truncate, merge."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd

from peftlens.adapters import comparison, merging, truncation
from peftlens.adapters.external import ExternalAdapter
from peftlens.api.session import session_context
from peftlens.api.table import Table
from peftlens.inspection.inspect import Inspection, inspect, located
from peftlens.runs.run import Run

Adapter = ExternalAdapter | Run | str | Path


def load_adapter(
    adapter: str | Path, base_model: str | None = None, *, trust_remote_code: bool = False
) -> ExternalAdapter:
    """Open an adapter of Hugging Face peft, or that of a run.

    Example:
        ```python
        adapter = pl.load_adapter("org/name", base_model="org/model")
        pl.probe(adapter, "delta_spectrum")
        ```

    Args:
        adapter: folder of an adapter or run, or `org/name@revision` on the hub.
        base_model: its base model; the one that the adapter names by default.
        trust_remote_code: let the adapter's configuration name Python to import.

    Raises:
        InputError: there is no adapter.
    """
    return ExternalAdapter(located(adapter), base_model, trust_remote_code)


def inspect_adapter(
    adapter: Adapter, base_model: str | None = None, *, trust_remote_code: bool = False
) -> Inspection:
    """Look at an adapter: is it whole, was it trained, which rank would do, what does it do?

    Example:
        ```python
        found = pl.inspect_adapter("org/name")
        found.findings, found.tables["adapter_weights"].frame
        pl.inspect_adapter("org/name", base_model="org/model")  # and its effect on the base
        ```

    Args:
        adapter: an opened adapter, a run, a folder of either, or a hub id.
        base_model: its base model, loaded to measure the adapter's effect on it; by default only
            one that `load_adapter` was called with.
        trust_remote_code: let configurations name Python to import.

    Raises:
        InputError: there is no adapter, or it could run code.
    """
    one = _opened(adapter, base_model, trust_remote_code)
    return inspect(one.path, one.base_model, trust_remote_code=one.trust_remote_code)


def compare_adapters(
    adapters: Sequence[Adapter],
    base_model: str | None = None,
    *,
    directions: int = 8,
    trust_remote_code: bool = False,
) -> Table:
    """Compare adapters weight by weight: shared directions, and conflicts if they were added.

    Example:
        ```python
        pl.compare_adapters(["org/name", "org/other", run]).to_frame()
        ```

    Args:
        adapters: two or more of one base.
        base_model: their base model; needed for types whose files do not determine the update.
        directions: number of strongest directions of each that are compared.
        trust_remote_code: let configurations name Python to import.

    Raises:
        InputError: fewer than two adapters, or one that can't be compared.
    """
    opened = [_opened(one, base_model, trust_remote_code) for one in adapters]
    base = None
    if all(one.base_model for one in opened):
        base = session_context(trust_remote_code=trust_remote_code).shared_base_model(opened)
    return Table.of(comparison.compare(opened, directions, base_model=base))


def truncate_adapter(
    adapter: Adapter,
    out: str | Path,
    *,
    rank: int | None = None,
    energy: float | None = None,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Write a LoRA of lower rank: its update truncated by its singular values.

    Example:
        ```python
        pl.truncate_adapter("org/name", "smaller", rank=8)  # a folder for plain peft
        ```

    Args:
        adapter: an opened adapter, a run, a folder of either, or a hub id.
        out: the new folder, which must not exist.
        rank: rank of every weight that has a higher one.
        energy: instead, each weight's lowest rank that keeps this share of its ‖ΔW‖_F².
        trust_remote_code: let the adapter's configuration name Python to import.

    Returns:
        A row for each weight: its rank before, the rank kept, and the share of energy kept.

    Raises:
        InputError: neither rank nor energy is set or both are, the adapter has no rank to lower,
            or `out` exists.
    """
    one = _opened(adapter, None, trust_remote_code)
    found = truncation.truncate(
        one.path, out, rank=rank, energy=energy, trust_remote_code=one.trust_remote_code
    )
    return pd.DataFrame([asdict(weight) for weight in found])


def merge(run: Run | str | Path, out: str | Path, *, trust_remote_code: bool = False) -> float:
    """Merge a run into its base and save a plain model folder that transformers loads.

    Example:
        ```python
        pl.merge(run, "merged")
        ```

    Args:
        run: a run, or its folder.
        out: the model's folder, which must not exist.
        trust_remote_code: run Python that the base model's folder brings along.

    Returns:
        Relative error of the merged model's logits on random tokens.

    Raises:
        InputError: the method can't be merged, `out` exists, or rounding loses too much.
    """
    folder = run.path if isinstance(run, Run) else run
    return merging.merge(folder, out, trust_remote_code=trust_remote_code)


def _opened(adapter: Adapter, base_model: str | None, trust_remote_code: bool) -> ExternalAdapter:
    if isinstance(adapter, ExternalAdapter):
        return replace(adapter, base_model=base_model or adapter.base_model)
    target = adapter.path if isinstance(adapter, Run) else adapter
    return load_adapter(target, base_model, trust_remote_code=trust_remote_code)
