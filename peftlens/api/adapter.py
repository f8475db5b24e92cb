"""Adapters of peft and of runs: open, inspect, compare, truncate, convert, combine, merge."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from peftlens.adapters import comparison, merging, truncation
from peftlens.adapters.combination import How, Recipe
from peftlens.adapters.conversion import Budget
from peftlens.adapters.external import ExternalAdapter
from peftlens.api.session import session_context
from peftlens.api.table import Table
from peftlens.inspection import combine as combination
from peftlens.inspection import convert as conversion
from peftlens.inspection.behavior import Measured
from peftlens.inspection.combine import Combination
from peftlens.inspection.convert import Conversion
from peftlens.inspection.inspect import Inspection, inspect, located
from peftlens.runs.run import Run

Adapter = ExternalAdapter | Run | str | Path


def load_adapter(
    adapter: str | Path, base_model: str | None = None, *, trust_remote_code: bool = False
) -> ExternalAdapter:
    """Open an adapter of Hugging Face peft, or the adapter of a run.

    Example:
        ```python
        adapter = pl.load_adapter("org/name", base_model="org/model")
        pl.probe(adapter, "delta_spectrum")
        ```

    Args:
        adapter: folder of an adapter or run, or `org/name@revision` on the hub.
        base_model: name of the base model; by default the one that the adapter names.
        trust_remote_code: whether the adapter's configuration may name Python code to import.

    Raises:
        InputError: the adapter does not exist.
    """
    return ExternalAdapter(located(adapter), base_model, trust_remote_code)


def inspect_adapter(  # noqa: PLR0913  # a request each
    adapter: Adapter,
    base_model: str | None = None,
    *,
    training_text: str = "",
    program: str | None = None,
    survival: bool = False,
    trust_remote_code: bool = False,
) -> Inspection:
    """Inspect an adapter: completeness, training, sufficient rank, and effect on the base model.

    Example:
        ```python
        inspection = pl.inspect_adapter("org/name")
        inspection.findings, inspection.tables["adapter_weights"].frame
        pl.inspect_adapter("org/name", base_model="org/model")  # and its effect on the base
        pl.inspect_adapter("org/name", base_model="org/model", program="vllm")  # can it be served?
        ```

    Args:
        adapter: an opened adapter, a run, a folder of either, or a hub id.
        base_model: name of the base model, loaded to measure the adapter's effect; by default the
            argument of `load_adapter`, and without that the effect is not measured.
        training_text: file with text of the adapter's training, one a line, whose words are looked
            for in what it changed.
        program: vllm, sglang, llama.cpp or transformers: judge from the base's config.json whether
            it would apply the adapter, in place of measuring the effect.
        survival: whether to measure what merging in 16, 8 and 4 bits leaves of the update.
        trust_remote_code: whether configurations may name Python code to import.

    Raises:
        InputError: the adapter does not exist, or could run code.
    """
    one = _opened(adapter, base_model, trust_remote_code)
    return inspect(
        one.path,
        one.base_model,
        training_text=training_text,
        program=program,
        survival=survival,
        trust_remote_code=one.trust_remote_code,
    )


def compare_adapters(
    adapters: Sequence[Adapter],
    base_model: str | None = None,
    *,
    directions: int = 8,
    trust_remote_code: bool = False,
) -> Table:
    """Compare adapters by weight: shared directions, and conflicts if they were added.

    Example:
        ```python
        pl.compare_adapters(["org/name", "org/other", run]).to_frame()
        ```

    Args:
        adapters: two or more adapters of one base model.
        base_model: name of the base model; needed for types whose file alone lacks the update.
        directions: number of strongest directions of each to compare.
        trust_remote_code: whether configurations may name Python code to import.

    Raises:
        InputError: there are fewer than two adapters, or one of them can't be compared.
    """
    opened = [_opened(one, base_model, trust_remote_code) for one in adapters]
    context = None
    if all(one.base_model for one in opened):
        context = session_context(trust_remote_code=trust_remote_code)
        context.shared_base_model(opened)  # refuses different ones
    return Table.of(comparison.compare(opened, directions, context=context))


def truncate_adapter(
    adapter: Adapter,
    out: str | Path,
    *,
    rank: int | None = None,
    energy: float | None = None,
    trust_remote_code: bool = False,
) -> pd.DataFrame:
    """Write a LoRA of lower rank, its update truncated to the largest singular values.

    Example:
        ```python
        pl.truncate_adapter("org/name", "smaller", rank=8)  # a folder for plain peft
        ```

    Args:
        adapter: an opened adapter, a run, a folder of either, or a hub id.
        out: folder of the new adapter, which must not exist.
        rank: new rank of every weight with a higher one.
        energy: alternatively, the share of each weight's ‖ΔW‖_F² to retain, with the lowest rank.
        trust_remote_code: whether the adapter's configuration may name Python code to import.

    Returns:
        One row per weight: its old rank, its new rank, and the retained share of energy.

    Raises:
        InputError: neither or both of rank and energy are set, the adapter has no rank to lower,
            or `out` exists.
    """
    one = _opened(adapter, None, trust_remote_code)
    truncations = truncation.truncate(
        one.path, out, rank=rank, energy=energy, trust_remote_code=one.trust_remote_code
    )
    return pd.DataFrame([asdict(weight) for weight in truncations])


def convert(  # noqa: PLR0913  # one argument per choice
    target: Adapter,
    out: str | Path,
    base_model: str | None = None,
    *,
    rank: int | None = None,
    energy: float | None = None,
    kl: float | None = None,
    adaptive: bool = False,
    text: str | Path | None = None,
    task: str | None = None,
    task_options: dict[str, Any] | None = None,
    items: int = 300,
    trust_remote_code: bool = False,
) -> Conversion:
    """Convert any change of weights into a plain LoRA, and measure what that costs.

    Example:
        ```python
        pl.convert(run, "as_lora", rank=16).models  # KL, accuracy, forgetting
        pl.convert("fine_tuned", "tuned_as_lora", base_model="org/model", kl=0.01).weights
        ```

    Args:
        target: an opened adapter, a run, a folder of either or of a fine-tuned model, or a hub id.
        out: folder of the new adapter, which must not exist.
        base_model: base model of an adapter, by default the one that it names; needed for a model.
        rank: rank of every module.
        energy: alternatively, the share of each module's ‖ΔW‖_F² to keep.
        kl: alternatively, the largest KL from the original, nats per token.
        adaptive: whether the parameters of `rank` go to the strongest singular values of all.
        text: file of general text, one a line; by default passages_short.
        task: task to score; by default the run's own.
        task_options: options of that task.
        items: largest number of its test examples; 0 for all.
        trust_remote_code: whether Python code from a base model's folder may run.

    Raises:
        InputError: there is not one budget, or the divergence can't be reached; the method has no
            update that a LoRA can carry; or `out` exists.
    """
    named = target.base_model if isinstance(target, ExternalAdapter) else None
    return conversion.convert(
        target.path if isinstance(target, (Run, ExternalAdapter)) else target,
        out,
        Budget(rank=rank, energy=energy, kl=kl, adaptive=adaptive),
        Measured(
            text=None if text is None else str(text),
            task=task,
            task_options=task_options or {},
            items=items,
        ),
        base_model=base_model or named,
        trust_remote_code=trust_remote_code,
    )


def combine(  # noqa: PLR0913  # one argument per choice
    adapters: Sequence[Adapter],
    out: str | Path,
    base_model: str | None = None,
    *,
    how: How = "cat",
    weights: Sequence[float] = (),
    density: float | None = None,
    rank: int | None = None,
    seed: int = 0,
    items: int = 300,
    trust_remote_code: bool = False,
) -> Combination:
    """Combine adapters of one base into a plain LoRA, and score it on the tasks of runs.

    Example:
        ```python
        pl.combine([run, other_run], "both").tasks  # loss and accuracy of each on each task
        pl.combine(["org/name", "org/other"], "both_by_ties", how="ties", density=0.2)
        ```

    Args:
        adapters: two or more opened adapters, runs, folders of either, or hub ids.
        out: folder of the new adapter, which must not exist.
        base_model: base model of adapters, by default the one that the first names.
        how: `cat`, the exact sum of the updates; `svd`, the sum truncated to `rank`; `ties`;
            `dare`; or `linear`, peft's sum of the factors, which is not the sum of the updates.
        weights: weight of each adapter; by default 1 for all.
        density: share of entries that `ties` and `dare` keep; by default 0.2 and 0.5.
        rank: rank of every module for `ties`, `dare` and `svd`; by default that of all together.
        seed: seed by which `dare` drops entries.
        items: largest number of test examples of each task; 0 for all.
        trust_remote_code: whether Python code from a base model's folder may run.

    Raises:
        InputError: an option does not fit the adapters, their bases differ, one has no update of
            weights or a head of its own, or `out` exists.
    """
    opened = (one.base_model for one in adapters if isinstance(one, ExternalAdapter))
    return combination.combine(
        [one.path if isinstance(one, (Run, ExternalAdapter)) else one for one in adapters],
        out,
        Recipe(how=how, weights=tuple(weights), density=density, rank=rank, seed=seed),
        items=items,
        base_model=base_model or next(opened, None),
        trust_remote_code=trust_remote_code,
    )


def merge(
    adapter: Adapter,
    out: str | Path,
    base_model: str | None = None,
    *,
    trust_remote_code: bool = False,
) -> float:
    """Merge a run or an adapter into its base model and save a plain transformers model.

    Example:
        ```python
        pl.merge(run, "merged")
        pl.merge("adapter", "other_merged", base_model="org/model")
        ```

    Args:
        adapter: an opened adapter, a run, a folder of either, or a hub id.
        out: folder of the merged model, which must not exist.
        base_model: base model of an adapter; by default the one that it names.
        trust_remote_code: whether Python code from a base model's folder may run.

    Returns:
        Relative error of the merged model's logits on random tokens.

    Raises:
        InputError: the method can't be merged, `out` exists, or rounding loses too much.
    """
    folder = adapter.path if isinstance(adapter, (Run, ExternalAdapter)) else Path(adapter)
    if not folder.exists():
        folder = located(str(adapter))
    named = adapter.base_model if isinstance(adapter, ExternalAdapter) else None
    return merging.merge(
        folder, out, base_model=base_model or named, trust_remote_code=trust_remote_code
    )


def _opened(adapter: Adapter, base_model: str | None, trust_remote_code: bool) -> ExternalAdapter:
    if isinstance(adapter, ExternalAdapter):
        return replace(adapter, base_model=base_model or adapter.base_model)
    target = adapter.path if isinstance(adapter, Run) else adapter
    return load_adapter(target, base_model, trust_remote_code=trust_remote_code)
