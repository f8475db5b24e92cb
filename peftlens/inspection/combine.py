"""Combine: one plain LoRA of several adapters, and what each of them keeps of its task."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from torch import nn

from peftlens.adapters.combination import (
    AdapterUpdates,
    CombinedUpdate,
    Recipe,
    combine_adapters,
)
from peftlens.adapters.comparison import named
from peftlens.adapters.external import ExternalAdapter
from peftlens.adapters.opening import open_trained, refuse_existing
from peftlens.adapters.plain_lora import write_plain_lora
from peftlens.adapters.run_context import RunContext
from peftlens.adapters.switching import AdapterSet
from peftlens.errors import InputError, require
from peftlens.evaluation.task_matrix import task_matrix
from peftlens.evaluation.task_score import ScoredTask
from peftlens.inspection.inspect import located
from peftlens.io.files import new_folder
from peftlens.models.base_model import BaseModel
from peftlens.results.table import html_of
from peftlens.runs.trained_model import TrainedModel

BASE = "the base"  # no name of a folder, most likely
COMBINED = "the combination"


@dataclass(frozen=True, kw_only=True)
class Combination:
    """Result of combining adapters.

    Attributes:
        folder: folder of the new adapter.
        parameters: number of its parameters.
        energy: share of the combination's squared norm that its ranks keep.
        tasks: losses and accuracies, see `task_matrix`; without rows where no task is known.
        modules: norm, rank and kept energy of each module.
        lost: changes of an adapter that a LoRA can't carry.
    """

    folder: Path
    parameters: int
    energy: float
    tasks: pd.DataFrame
    modules: pd.DataFrame
    lost: pd.DataFrame

    def _repr_html_(self) -> str:
        return html_of(self.tasks) + html_of(self.modules) + html_of(self.lost)


def combine(  # noqa: PLR0913  # one argument per choice
    targets: Sequence[str | Path],
    out: str | Path,
    recipe: Recipe,
    *,
    items: int = 300,
    base_model: str | None = None,
    trust_remote_code: bool = False,
) -> Combination:
    """Combine adapters of one base into a plain LoRA of peft, and score it on their tasks.

    Args:
        targets: folders of runs or adapters, or hub ids.
        out: folder of the new adapter, which must not exist.
        recipe: how they are combined.
        items: largest number of test examples of each run's task; 0 for all.
        base_model: base model of adapters, by default the one that the first of them names.
        trust_remote_code: see `load_base_model`.

    Raises:
        InputError: the recipe does not fit the adapters, their bases differ, one of them can't be
            merged or has a head of its own, or `out` exists.
    """
    recipe.check(len(targets))
    require("items", items, 0)
    refuse_existing(Path(out))
    runs, base = _open(targets, base_model, trust_remote_code)
    adapters = {name: AdapterUpdates.of(run, base) for name, run in runs.items()}
    combined = combine_adapters([*adapters.values()], recipe)
    if not combined:
        raise InputError("the adapters have no update that a LoRA can carry, or cancel each other")
    with new_folder(Path(out)) as folder:
        write_plain_lora([one.factors for one in combined], base, folder)
        result = ExternalAdapter(folder, base.reference)
        tasks = _tasks(runs, result, base, items)
    modules = _modules(combined)
    squares = modules["norm"] ** 2
    return Combination(
        folder=Path(out),
        parameters=int(modules["parameters"].sum()),
        energy=float((modules["energy"] * squares).sum() / squares.sum()),
        tasks=tasks,
        modules=modules,
        lost=_lost(adapters),
    )


def _open(
    targets: Sequence[str | Path], base_model: str | None, trust_remote_code: bool
) -> tuple[dict[str, TrainedModel], BaseModel]:
    """Open the adapters by their names, and the base of all in float32."""
    folders = [path if (path := Path(one)).exists() else located(str(one)) for one in targets]
    runs = [open_trained(one, base_model, trust_remote_code) for one in folders]
    if names := {run.config.base_model for run in runs} - {runs[0].config.base_model}:
        raise InputError(
            f"{runs[0].path} is of base {runs[0].config.base_model!r}, and another of "
            f"{names.pop()!r}; combine adapters of one base, or name it by --base"
        )
    context = RunContext(trust_remote_code=trust_remote_code)
    if headed := [run for run in runs if context.head(run)]:
        raise InputError(f"{headed[0].path} has a head of its own, which can't be combined")
    exact = runs[0].config.model_copy(update={"device": "auto", "dtype": "float32"})
    return dict(named(runs)), context.configured_base_model(exact)


def _lost(adapters: Mapping[str, AdapterUpdates]) -> pd.DataFrame:
    rows = [
        {"adapter": name, "weight": one.weight, "norm": one.norm, "why": one.why}
        for name, adapter in adapters.items()
        for one in adapter.lost
    ]
    return pd.DataFrame(rows, columns=["adapter", "weight", "norm", "why"])


def _tasks(
    runs: Mapping[str, TrainedModel], result: TrainedModel, base: BaseModel, items: int
) -> pd.DataFrame:
    """Score base, adapters and their combination on the task of each adapter that is a run."""
    tasks = {name: ScoredTask.of_run(run, base, items) for name, run in runs.items() if run.task}
    models = AdapterSet(base)
    uses: dict[str, Callable[[], nn.Module]] = {BASE: lambda: models.use(None)}
    for name, run in {**runs, COMBINED: result}.items() if tasks else ():
        models.add(name, run)
        uses[name] = lambda name=name: models.use(name)
    frame = task_matrix(uses, tasks, BASE)
    models.use(None)
    return frame


def _modules(combined: Sequence[CombinedUpdate]) -> pd.DataFrame:
    rows = [
        {
            "module": one.factors.module,
            "norm": one.norm,
            "rank": one.factors.rank,
            "energy": one.energy,
            "parameters": one.factors.b.size + one.factors.a.size,
        }
        for one in combined
    ]
    return pd.DataFrame(rows)
