"""Benchmark table of a study: one row per configuration, task and metric, with an interval.

The majority baseline of a classification is a row without seeds.

Of a configuration's learning rates only the best one by validation accuracy is included; without
validation accuracy, each rate is a configuration.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from peftlens.errors import InputError, suggestion
from peftlens.numerics.mixed_model import crossed_estimate, holm
from peftlens.numerics.resampling import few_interval
from peftlens.results.item_changes import by_seed, item_changes
from peftlens.results.item_scores import item_scores
from peftlens.results.majority_baseline import baseline_accuracy
from peftlens.results.stack import joined
from peftlens.results.study_results import StudyResults
from peftlens.results.sweep import paired_differences
from peftlens.results.table import last_steps, measured
from peftlens.runs.configuration_names import sweeps
from peftlens.runs.run import Run

COLUMNS = ("configuration", "method", "task", "metric", "unit", "better", "mean", "ci_low",
           "ci_high", "ci_method", "n_seeds", "n_items", "seeds", "best", "sha256")  # fmt: skip
SEPARATED = 0.05  # largest adjusted p at which a paired test separates the best from another

_CROSSED = "mixed model over seeds and items"
_ITEMS = "Student's t over items"
_SEEDS = "Student's t over seeds"
_COSTS = (
    ("parameter_count", "trainable_parameters", "1"),
    ("parameter_count", "adapter_bytes", "bytes"),
    ("cost", "step_seconds", "s"),
    ("cost", "peak_memory_bytes", "bytes"),
)
# metrics that readers expect: the probe for them, the table that it writes, their names
USUAL = (
    ("task_accuracy", "task_items", "accuracy"),
    ("forgetting", "forgetting", "forgetting"),
    ("parameter_count", "parameter_count", "trainable parameters"),
)
_IMPORTED = ("accuracy", "forgetting", "trainable_parameters", "adapter_bytes",
             "peak_memory_bytes", "training_seconds")  # fmt: skip
_SEQUENCE = {"ACC": "higher", "BWT": "higher", "FWT": "higher", "F": "lower"}


@dataclass(frozen=True)
class _Runs:
    """Runs that the table includes.

    Attributes:
        names: configuration of each run, by run id.
        tasks: task of each run, by run id.
    """

    names: Mapping[str, str]
    tasks: Mapping[str, str]

    def of(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Select the rows of these runs and add `name` and `task`."""
        rows = measured(frame)
        rows = rows[rows["run"].isin(list(self.names))]
        return rows.assign(name=rows["run"].map(self.names), task=rows["run"].map(self.tasks))


def benchmark_table(one: StudyResults, metrics: tuple[str, ...] = ()) -> pd.DataFrame:
    """Build the tidy table, in the order of the study and of the metrics.

    Args:
        one: results of the study.
        metrics: names of metrics, or prefixes of names; all by default.

    Raises:
        InputError: the study has no table with a metric, or no metric of that name.
    """
    one, runs = _with_saved(one), _counted(one)
    rows = [
        *_answers(one, runs),
        *_forgetting(one, runs),
        *_costs(one, runs),
        *_steps(one, runs),
        *_sequences(one),
        *_imported(one),
    ]
    if not rows:
        raise InputError(
            f"{one.folder} has no results for a benchmark table: none of task_items, forgetting, "
            "parameter_count, cost and continual was measured, and nothing was imported"
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for prefix in metrics:
        if not table["metric"].str.startswith(prefix).any():
            remedy = suggestion(prefix, table["metric"].unique(), "this study has")
            raise InputError(f"no metric begins with {prefix!r}; {remedy}")
    return table[table["metric"].str.startswith(metrics)] if metrics else table


def missing_metrics(one: StudyResults) -> list[str]:
    """Return a line for each usual metric that the study's table lacks: the probe that gives it."""
    tables = _with_saved(one).tables
    absent = [] if {"continual", "imported"} & tables.keys() else USUAL
    return [
        f"No {metrics} in this table: add {probe} to `probes` of the study file, and run it again"
        for probe, table, metrics in absent
        if table not in tables
    ]


def _with_saved(one: StudyResults) -> StudyResults:
    """Add tables that every run has on disk as inputs of other probes, if the study has none."""
    added = {}
    for name in {table for _, table, _ in USUAL} - one.tables.keys():
        runs = [run for run in one.runs if isinstance(run, Run)]
        saved = joined(runs, name, one.configurations)[0]
        if saved and {*(saved.run_ids or ())} == {run.id for run in one.runs}:
            added[name] = saved
    return replace(one, tables={**one.tables, **added})


def _counted(one: StudyResults) -> _Runs:
    names = {run.id: one.configurations[run.id] for run in one.runs}
    tasks = {run.id: run.config.task for run in one.runs}
    if "cost" in one.tables:
        cost = measured(one.tables["cost"].frame)
        cost = cost[cost["run"].isin(list(names))]
        for name, own in cost.groupby(cost["run"].map(sweeps(run.record for run in one.runs))):
            rates = own.groupby("learning_rate", dropna=False)["validation_accuracy"].mean()
            if len(rates) > 1 and rates.notna().any():
                best = set(own[own["learning_rate"] == rates.idxmax()]["run"])
                others = {*own["run"]} - best
                names = {run: label for run, label in names.items() if run not in others}
                names |= dict.fromkeys(best, str(name))
    return _Runs(names, tasks)


def _answers(one: StudyResults, runs: _Runs) -> Iterator[dict]:
    """Yield accuracy and loss on test examples, with intervals over seeds and items."""
    if "task_items" not in one.tables:
        return
    items = runs.of(one.tables["task_items"].frame)
    digest = _digest(one, "task_items")
    chosen = items.assign(accuracy=item_scores(items))
    for metric, unit, better in (("accuracy", "1", "higher"), ("loss", "nats per token", "lower")):
        scored = chosen.dropna(subset=[metric])
        for task, part in scored.groupby("task", sort=False):
            wide = {  # each (seeds, items)
                str(name): rows.astype({metric: float})
                .groupby(["seed", "item"])[metric]
                .mean()
                .unstack()
                for name, rows in part.groupby("name", sort=False)
            }
            best = separated(wide, better, dict(zip(part["name"], part["method"], strict=True)))
            for name, values in wide.items():
                estimate = crossed_estimate(values)
                method = _CROSSED if len(values) > 1 else _ITEMS
                yield _row(
                    name, part, str(task), metric, unit, better,
                    mean=float(values.to_numpy().mean()),
                    ci_low=estimate.low, ci_high=estimate.high,
                    ci_method=method if estimate.low is not None else "", best=name == best,
                    n_items=values.shape[1], sha256=digest,
                )  # fmt: skip
            if metric == "accuracy" and "majority_class" in part:
                yield from _majority(part.dropna(subset=["majority_class"]), str(task), digest)


def _majority(items: pd.DataFrame, task: str, digest: str) -> Iterator[dict]:
    """Yield the majority baseline, which has no runs; one row for each class, as seeds share it."""
    for label, rows in items.groupby("majority_class", sort=False):
        one = rows.drop_duplicates("item")
        yield dict.fromkeys(COLUMNS) | {
            "configuration": f"majority class {label!r}",
            "method": "majority",
            "task": task,
            "metric": "accuracy",
            "unit": "1",
            "better": "higher",
            "mean": baseline_accuracy(one["majority"], one["correct"]),
            "ci_method": "",
            "n_seeds": 0,
            "n_items": len(one),
            "seeds": "",
            "best": False,
            "sha256": digest,
        }


def separated(
    wide: Mapping[str, pd.DataFrame], better: str, methods: Mapping[str, str]
) -> str | None:
    """Return the best configuration if a paired test separates it from every other one.

    p-values of the best against each other one, by the mixed model of seeds and items, are
    corrected together (Holm). Configurations with other seeds or items than the best can't be
    compared, and then no configuration is separated.

    Args:
        wide: values of each configuration, shape (seeds, items).
        better: "higher" or "lower".
        methods: method of each configuration.
    """
    if len(wide) < 2:
        return None
    sign = 1 if better == "higher" else -1
    best = max(wide, key=lambda name: sign * wide[name].to_numpy().mean())
    found = paired_differences(wide, methods)
    estimates = [found.get((best, name)) for name in wide if name != best]
    p = [1.0 if one is None or one.p_value is None else one.p_value for one in estimates]
    return best if (holm(p) <= SEPARATED).all() else None


def _forgetting(one: StudyResults, runs: _Runs) -> Iterator[dict]:
    """Yield forgetting on each suite, at the last step of each run; over items if one seed."""
    if "forgetting" not in one.tables:
        return
    rows = last_steps(runs.of(one.tables["forgetting"].frame))
    changes = pd.DataFrame(columns=["run", "suite"])
    if "forgetting_items" in one.tables:
        changes = item_changes(last_steps(runs.of(one.tables["forgetting_items"].frame)))
    kinds = (("forgetting", "nats per token", "lower", "ci_low", "ci_high"),
             ("accuracy_change", "1", "higher", "accuracy_ci_low", "accuracy_ci_high"))  # fmt: skip
    for value, unit, better, low, high in kinds:
        scored = rows.dropna(subset=[value])
        for (suite, name, task), part in scored.groupby(["suite", "name", "task"], sort=False):
            if len(part) == 1:
                ends, method = (part[low].iloc[0], part[high].iloc[0]), "bootstrap over items"
            else:
                own = changes[changes["run"].isin(part["run"]) & (changes["suite"] == suite)]
                ends, method = _over_seeds(part, own, value)
            yield _row(
                str(name), part, str(task), f"{value.replace('_', ' ')} on {suite}", unit, better,
                mean=float(part[value].mean()), ci_low=ends[0], ci_high=ends[1],
                ci_method=method,
                n_items=int(part["n_items"].min()), sha256=_digest(one, "forgetting"),
            )  # fmt: skip


def _over_seeds(
    part: pd.DataFrame, changes: pd.DataFrame, value: str
) -> tuple[tuple[float | None, float | None], str]:
    """Return the interval of a mean over runs, and its method: over items, too, if known."""
    if changes.empty:
        over = few_interval(part[value].astype(float))
        return (over.low, over.high), _SEEDS
    both = crossed_estimate(by_seed(changes, value))
    return (both.low, both.high), _CROSSED


def _costs(one: StudyResults, runs: _Runs) -> Iterator[dict]:
    """Yield sizes, which are exact, and times and memory, with intervals over seeds."""
    for table, metric, unit in _COSTS:
        if table not in one.tables:
            continue
        rows = runs.of(one.tables[table].frame).dropna(subset=[metric])
        for (name, task), part in rows.groupby(["name", "task"], sort=False):
            values = part[metric].astype(float)
            exact = table == "parameter_count"
            over = few_interval(values, (0, np.inf))
            yield _row(
                str(name), part, str(task), metric.replace("_", " "), unit, "lower",
                mean=float(values.mean()),
                ci_low=None if exact else over.low, ci_high=None if exact else over.high,
                ci_method="exact" if exact else _SEEDS if over.low is not None else "",
                sha256=_digest(one, table),
            )  # fmt: skip


def _steps(one: StudyResults, runs: _Runs) -> Iterator[dict]:
    """Yield the steps of each configuration where trained ones differ in them.

    The most of its runs: one that diverged ended early.
    """
    if "cost" not in one.tables:
        return
    steps = {run.id: run.record.results.get("steps") for run in one.runs if isinstance(run, Run)}
    rows = runs.of(one.tables["cost"].frame)
    rows = rows.assign(steps=rows["run"].map(steps)).dropna(subset=["steps"])
    parts = [*rows.groupby(["name", "task"], sort=False)]
    if len({part["steps"].max() for _, part in parts} - {0}) < 2:
        return
    for (name, task), part in parts:
        yield _row(str(name), part, str(task), "steps", "1", "lower",
                   mean=float(part["steps"].max()), ci_low=None, ci_high=None,
                   ci_method="exact", sha256=None)  # fmt: skip


def _sequences(one: StudyResults) -> Iterator[dict]:
    """Yield the metrics of continual learning; a row summarizes several runs."""
    if "continual" not in one.tables:
        return
    for row in one.tables["continual"].frame.dropna(subset="value").to_dict("records"):
        yield {
            "configuration": row["name"],
            "method": str(row["configuration"]).partition(" ")[0],
            "task": "sequence",
            "metric": row["measure"],
            "unit": "1",
            "better": _SEQUENCE.get(row["measure"]),
            "mean": row["value"],
            "ci_low": row["ci_low"],
            "ci_high": row["ci_high"],
            "ci_method": _CROSSED if pd.notna(row["ci_low"]) else "",
            "n_seeds": row["n_seeds"],
            "n_items": row["n_items"],
            "seeds": None,
            "best": False,
            "sha256": _digest(one, "continual"),
        }


def _imported(one: StudyResults) -> Iterator[dict]:
    """Yield imported experiments of another tool, with one seed each."""
    if "imported" not in one.tables:
        return
    frame = one.tables["imported"].frame.assign(name=lambda rows: rows["configuration"])
    alone = int(frame["tied"].fillna(False).sum()) == 1
    columns = {column.name: column for column in one.tables["imported"].columns}
    for metric in _IMPORTED:
        # not the memory above the base, as of our own runs
        title = metric.replace("_", " ").replace("peak memory", "peak accelerator memory")
        for row in frame.dropna(subset=[metric]).to_dict("records"):
            binomial = metric == "accuracy"
            yield _row(
                row["name"], frame, "test", title, str(columns[metric].unit),
                str(columns[metric].better), mean=row[metric],
                ci_low=row["ci_low"] if binomial else None,
                ci_high=row["ci_high"] if binomial else None,
                ci_method="exact binomial over items" if binomial else "",
                n_items=row["n_items"] if binomial else None,
                best=binomial and alone and bool(row["tied"]), sha256=_digest(one, "imported"),
            )  # fmt: skip


def _row(  # noqa: PLR0913  # one per column
    name: str, frame: pd.DataFrame, task: str, metric: str, unit: str, better: str, **values: object
) -> dict:
    rows = frame[frame["name"] == name]
    seeds = sorted(rows["seed"].unique())
    return {
        "configuration": name,
        "method": rows["method"].iloc[0],
        "task": task,
        "metric": metric,
        "unit": unit,
        "better": better,
        "n_seeds": len(seeds),
        "n_items": None,
        "seeds": " ".join(map(str, seeds)),
        "best": False,
    } | values


def _digest(one: StudyResults, table: str) -> str:
    """Hex SHA-256 of the rows from which a number was computed."""
    return one.tables[table].csv_sha256
