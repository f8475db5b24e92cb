"""Results of Hugging Face's method_comparison as tables that report, table and export read.

Source of the layout: huggingface/peft, method_comparison, a JSON file for each experiment. They
give accuracies without intervals. Here each has its exact binomial one (Clopper & Pearson 1934),
and is compared with the best by Fisher's test, corrected over all (Benjamini & Hochberg 1995): the
files don't say which questions were answered right, so nothing can be paired and small differences
stay undecided. How many questions there were is found from the accuracies, which are fractions.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest, fisher_exact

from peftlens.errors import InputError
from peftlens.io.files import sha256_file, write_json
from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.results import table
from peftlens.results.study_results import index_or_none
from peftlens.results.table import Chart, Column, Table
from peftlens.runs.run import SCHEMA

VERSION = 1
TIED = 0.05  # q above which an accuracy is not told from the best one
_FEWEST = 100  # questions; fewer would be a coincidence of round fractions
_MOST = 100_000
COLUMNS = (
    Column("run", "first 12 digits of the file's SHA-256"),
    Column("configuration", "name of the experiment"),
    Column("method", "peft's type in lower case; full without one"),
    Column("seed", "of the experiment"),
    Column("model", "the base model"),
    Column("outcome", "what the file says of the experiment: success, or what else"),
    Column("accuracy", "share of test questions answered right", "1", "higher"),
    Column("ci_low", "lower end of its exact binomial 95 % interval", "1"),
    Column("ci_high", "upper end", "1"),
    Column("n_items", "test questions"),
    Column("q", "of its difference to the best accuracy, corrected over all", "1"),
    Column("tied", "whether it is not told from the best accuracy"),
    Column("pareto_optimal", "no experiment with at most as many parameters is more accurate"),
    Column("forgetting", "rise of the loss on general text", "nats per token", "lower"),
    Column("trainable_parameters", "parameters that the optimizer changes", "1", "lower"),
    Column("adapter_bytes", "size of what was saved", "bytes", "lower"),
    Column("peak_memory_bytes", "highest memory of the accelerator", "bytes", "lower"),
    Column("training_seconds", "time of training", "s", "lower"),
    Column("learning_rate", "as it was set"),
)
CHARTS = (
    Chart("points", x="configuration", y="accuracy", low="ci_low", high="ci_high",
          title="Test accuracy (bars: exact binomial 95 % interval)"),
    *(
        Chart("pareto", x=x, y="accuracy", low="ci_low", high="ci_high", log_x=True, by="method",
              title=f"Accuracy against {title}, with the Pareto front")
        for x, title in (("trainable_parameters", "trainable parameters"),
                         ("peak_memory_bytes", "memory of training"))
    ),
)  # fmt: skip
REST = (
    Column("run", "first 12 digits of the file's SHA-256"),
    Column("configuration", "name of the experiment"),
    Column("field", "its place in the file, by dots"),
    Column("value", "as JSON"),
)


@dataclass(frozen=True)
class _File:
    """One experiment.

    Attributes:
        fields: every value, by its place in the file; as they are read, what is left is taken out.
    """

    id: str
    fields: dict[str, Any]

    def take(self, *places: str) -> Any:
        """The first of these places that has a value."""
        found = [self.fields.pop(place) for place in places if place in self.fields]
        return next((value for value in found if value is not None), None)


def import_results(folder: str | Path, out: str | Path, items: int | None = None) -> list[Table]:
    """Read every JSON file of a folder, and write a study's folder of tables without runs.

    Args:
        folder: with the files, or with folders of them.
        out: the study's folder; tables of an earlier import are replaced.
        items: test questions; by default found from the accuracies.

    Raises:
        InputError: there is no such file, one is damaged, or the questions can't be counted.
    """
    source = Path(folder)
    files = [_read(path) for path in sorted(source.rglob("*.json"))]
    if not files:
        raise InputError(f"{folder} holds no .json files; give the folder with the results")
    rows = [_row(one) for one in files]
    right = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    if right:
        _judge(rows, items or questions(right))
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    whole = ("seed", "n_items", "trainable_parameters", "adapter_bytes", "peak_memory_bytes")
    real = ("accuracy", "ci_low", "ci_high", "q", "forgetting", "training_seconds", "learning_rate")
    types = dict.fromkeys(whole, "Int64") | dict.fromkeys(real, "Float64")
    tables = [
        Table("imported", VERSION, COLUMNS, CHARTS,
              frame.astype(types | dict.fromkeys(("tied", "pareto_optimal"), "boolean"))),
        Table("imported_rest", VERSION, REST, (), _rest(files, rows)),
    ]  # fmt: skip
    _write(source, Path(out), rows, tables)
    return tables


def _read(path: Path) -> _File:
    try:
        found = json.loads(path.read_text())
        fields = dict(_flat(found))
        if not {"run_info", "train_info"} <= found.keys():
            raise ValueError("it has no run_info or no train_info")
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no result of method_comparison: {error}") from error
    return _File(sha256_file(path)[:12], fields)


def _flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf with its place; an empty list or object is a leaf."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, one in inner:
        name = f"{place}.{key}" if place else str(key)
        if isinstance(one, (Mapping, list)) and one:
            yield from _flat(one, name)
        else:
            yield name, one


def _row(one: _File) -> dict[str, Any]:
    train, info = "run_info.train_config", "train_info"
    kind = one.take("run_info.peft_config.peft_type")
    return {
        "run": one.id,
        "configuration": str(one.take("run_info.experiment_name") or one.id),
        "method": str(kind).lower() if kind else "full",
        "seed": one.take(f"{train}.seed"),
        "model": one.take(f"{train}.model_id"),
        "outcome": one.take(f"{info}.status"),
        "accuracy": _last(one, "test accuracy"),
        "forgetting": _last(one, "forgetting"),
        "trainable_parameters": one.take(f"{info}.num_trainable_params"),
        "adapter_bytes": one.take(f"{info}.file_size"),
        "peak_memory_bytes": one.take(f"{info}.accelerator_memory_max", f"{info}.cuda_memory_max"),
        "training_seconds": one.take(f"{info}.train_time"),
        "learning_rate": one.take(f"{train}.optimizer_kwargs.lr"),
    }


def _last(one: _File, name: str) -> float | None:
    """A number of the last step that has it."""
    places = [
        place for place in one.fields
        if place.startswith("train_info.metrics.") and place.endswith(f".{name}")
    ]  # fmt: skip
    return one.take(max(places, key=lambda place: int(place.split(".")[2]))) if places else None


def questions(accuracies: Sequence[float]) -> int:
    """The fewest questions of which all these accuracies are a share.

    Raises:
        InputError: there is no such number that could be meant.
    """
    fractions = [Fraction(one).limit_denominator(_MOST) for one in accuracies]
    exact = all(abs(float(f) - a) < 1e-9 for f, a in zip(fractions, accuracies, strict=True))
    fewest = math.lcm(*(one.denominator for one in fractions))
    if not exact or not _FEWEST <= fewest <= _MOST:
        raise InputError(
            "how many test questions there were can't be told from the accuracies; give --items, "
            "such as 1319 for GSM8K"
        )
    return fewest


def _judge(rows: list[dict[str, Any]], items: int) -> None:
    """Intervals, ties with the best, and the front, where there is an accuracy."""
    known = [row for row in rows if row["accuracy"] is not None]
    best = max(known, key=lambda row: row["accuracy"])
    hits = [round(row["accuracy"] * items) for row in known]
    if bad := [row for row in known if not 0 <= row["accuracy"] <= 1]:
        raise InputError(f"{bad[0]['configuration']} has a test accuracy of {bad[0]['accuracy']}")
    most = round(best["accuracy"] * items)
    p = [fisher_exact([[most, items - most], [own, items - own]]).pvalue for own in hits]  # pyright: ignore[reportAttributeAccessIssue]
    for row, own, q in zip(known, hits, benjamini_hochberg(p), strict=True):
        interval = binomtest(own, items).proportion_ci(0.95, method="exact")
        row |= {"ci_low": interval.low, "ci_high": interval.high, "n_items": items, "q": float(q),
                "tied": bool(q > TIED)}  # fmt: skip
        row["pareto_optimal"] = None if row["trainable_parameters"] is None else not any(
            _beats(other, row) for other in known
        )  # fmt: skip


def _beats(other: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Whether it is as good in both, and better in one."""
    if other["trainable_parameters"] is None:
        return False
    (size, right), (own, own_right) = (
        (one["trainable_parameters"], one["accuracy"]) for one in (other, row)
    )
    return size <= own and right >= own_right and (size, right) != (own, own_right)


def _rest(files: Sequence[_File], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """What is in the files and has no column, so that nothing is lost."""
    return pd.DataFrame(
        [
            {"run": one.id, "configuration": row["configuration"], "field": place,
             "value": json.dumps(value)}
            for one, row in zip(files, rows, strict=True)
            for place, value in one.fields.items()
        ],
        columns=[column.name for column in REST],
    )  # fmt: skip


def _write(source: Path, out: Path, rows: Sequence[Mapping[str, Any]], tables: list[Table]) -> None:
    if index_or_none(out).get("runs"):
        raise InputError(f"{out} holds a study with runs; give another --out")
    (out / "tables").mkdir(parents=True, exist_ok=True)
    names = {row["run"]: row["configuration"] for row in rows}
    index = {"schema_version": SCHEMA, "name": source.resolve().name, "runs": [], "names": names,
             "configurations": names}  # fmt: skip
    write_json(out / "study.json", index)
    for one in tables:
        table.write(one, out / "tables" / f"{one.name}.parquet")
