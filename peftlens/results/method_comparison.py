"""Import of results of Hugging Face's method_comparison as tables of a study.

Source of the layout: huggingface/peft, method_comparison, one JSON file per experiment. The files
have accuracies without intervals. The import adds exact binomial intervals (Clopper & Pearson 1934)
and compares each accuracy with the best by Fisher's exact test, corrected for multiple comparisons
(Benjamini & Hochberg 1995). The files have no answers to single questions, so tests can't be paired
and small differences remain undecided. The number of questions is inferred from the accuracies,
which are fractions.
"""

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
from scipy.stats import binomtest, fisher_exact

from peftlens.errors import InputError, require
from peftlens.io.files import sha256_file, write_json
from peftlens.numerics.resampling import benjamini_hochberg
from peftlens.results import table
from peftlens.results.study_index import index_or_none
from peftlens.results.table import Chart, Column, Table
from peftlens.runs.run import SCHEMA

VERSION = 1
TIED = 0.05  # q above which an accuracy is not distinguished from the best one
_FEWEST = 100  # questions; a smaller number would be a coincidence of round fractions
_MOST = 100_000
_MOST_ITEMS = 10_000_000
_LARGEST = 2.0**62  # count that a table's 64-bit integers hold
COLUMNS = (
    Column("run", "first 12 digits of the file's SHA-256"),
    Column("configuration", "name of the experiment"),
    Column("method", "peft's type in lower case; full without one"),
    Column("seed", "seed of the experiment"),
    Column("model", "the base model"),
    Column("outcome", "status of the experiment in its file, such as success"),
    Column("accuracy", "share of correctly answered test questions", "1", "higher"),
    Column("ci_low", "lower end of the accuracy's exact binomial 95 % interval", "1"),
    Column("ci_high", "upper end of the interval", "1"),
    Column("n_items", "number of test questions"),
    Column(
        "q", "q value of the difference to the best accuracy, corrected for all comparisons", "1"
    ),
    Column("tied", "whether the accuracy is not distinguished from the best"),
    Column(
        "pareto_optimal",
        "whether no experiment is better in size or accuracy and as good in the other",
    ),
    Column("forgetting", "increase of the loss on general text", "nats per token", "lower"),
    Column("trainable_parameters", "number of parameters that the optimizer changes", "1", "lower"),
    Column("adapter_bytes", "size of the saved adapter", "bytes", "lower"),
    Column("peak_memory_bytes", "peak memory of the accelerator", "bytes", "lower"),
    Column("training_seconds", "training time", "s", "lower"),
    Column("learning_rate", "learning rate of the optimizer"),
)
CHARTS = (
    Chart("points", x="configuration", y="accuracy", low="ci_low", high="ci_high",
          title="Test accuracy (bars: exact binomial 95 % interval)"),
    *(
        Chart("pareto", x=x, y="accuracy", low="ci_low", high="ci_high", log_x=True, by="method",
              title=f"Accuracy against {title}, with the Pareto front")
        for x, title in (("trainable_parameters", "trainable parameters"),
                         ("peak_memory_bytes", "peak memory of training"))
    ),
)  # fmt: skip
REST = (
    Column("run", "first 12 digits of the file's SHA-256"),
    Column("configuration", "name of the experiment"),
    Column("field", "path of the field in the file, joined by dots"),
    Column("value", "value of the field, as JSON"),
)


@dataclass(frozen=True)
class _File:
    """File of one experiment.

    Attributes:
        path: the file.
        id: first 12 digits of the file's SHA-256.
        fields: values that were not taken yet, by path in the file.
    """

    path: Path
    id: str
    fields: dict[str, Any]

    def take(self, *paths: str) -> Any:
        """Remove the fields with these paths; return the first value that is not None."""
        values = [self.fields.pop(path) for path in paths if path in self.fields]
        return next((value for value in values if value is not None), None)

    def take_number(self, *paths: str, low: float = -math.inf, high: float = math.inf) -> Any:
        """Remove the fields with these paths; return the first number.

        A NaN is a missing value, as of a training that diverged, and its field is kept.

        Raises:
            InputError: a value is no finite number between `low` and `high`.
        """
        for path in paths:
            value = self.fields.get(path)
            if any(name.startswith(f"{path}.") for name in self.fields):
                raise self._refused(path, "a list or an object", "a number")
            if value is None:
                self.fields.pop(path, None)
                continue
            if value != value:  # only NaN differs from itself
                continue
            is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not is_number or abs(value) > sys.float_info.max or not low <= value <= high:
                raise self._refused(path, value, f"a number from {low:g} to {high:g}")
            return self.fields.pop(path)
        return None

    def take_count(self, *paths: str, low: int = 0) -> int | None:
        """Remove the fields with these paths; return the first whole number.

        Raises:
            InputError: a value is no whole number, or too large.
        """
        for path in paths:
            value = self.fields.get(path)
            if isinstance(value, float) and math.isfinite(value) and not value.is_integer():
                raise self._refused(path, value, "a whole number")
        value = self.take_number(*paths, low=low, high=_LARGEST)
        return None if value is None else int(value)

    def _refused(self, path: str, value: Any, wanted: str) -> InputError:
        shown = repr(value)[:60]
        return InputError(
            f"{self.path} has {path}={shown}; it must be {wanted}: correct it or remove the file"
        )


def import_results(folder: str | Path, out: str | Path, items: int | None = None) -> list[Table]:
    """Read all JSON files of a folder, and write a study folder with tables but without runs.

    Args:
        folder: folder with the files, also in subfolders.
        out: folder of the study; tables of an earlier import are replaced.
        items: number of test questions; inferred from the accuracies by default.

    Raises:
        InputError: there are no such files, one is damaged or has a value of another type, or the
            number of questions can't be inferred.
    """
    if items is not None:
        require("items", items, 1, _MOST_ITEMS)
    source = Path(folder)
    found = [_read(path) for path in sorted(source.rglob("*.json"))]
    files = [*{file.id: file for file in reversed(found)}.values()][::-1]  # copies are one
    if not files:
        raise InputError(f"{folder} holds no .json files; give the folder with the results")
    rows = [_row(file) for file in files]
    accuracies = [row["accuracy"] for row in rows if row["accuracy"] is not None]
    if accuracies:
        _compare_with_best(rows, items or questions(accuracies))
    frame = pd.DataFrame(rows).reindex(columns=[column.name for column in COLUMNS])
    integers = ("seed", "n_items", "trainable_parameters", "adapter_bytes", "peak_memory_bytes")
    floats = (
        "accuracy",
        "ci_low",
        "ci_high",
        "q",
        "forgetting",
        "training_seconds",
        "learning_rate",
    )
    types = dict.fromkeys(integers, "Int64") | dict.fromkeys(floats, "Float64")
    tables = [
        Table("imported", VERSION, COLUMNS, CHARTS,
              frame.astype(types | dict.fromkeys(("tied", "pareto_optimal"), "boolean"))),
        Table("imported_rest", VERSION, REST, (), _remaining_fields(files, rows)),
    ]  # fmt: skip
    _write(source, Path(out), rows, tables)
    return tables


def _read(path: Path) -> _File:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        fields = dict(_flatten(document))
        if not {"run_info", "train_info"} <= document.keys():
            raise ValueError("it has no run_info or no train_info")
        json.dumps(document, ensure_ascii=False).encode()  # refuses lone surrogates
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path} is not a result of method_comparison: {error}") from error
    return _File(path, sha256_file(path)[:12], fields)


def _flatten(value: Any, parent: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all leaves with their paths; an empty list or object is a leaf."""
    children = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, child in children:
        path = f"{parent}.{key}" if parent else str(key)
        if isinstance(child, (Mapping, list)) and child:
            yield from _flatten(child, path)
        else:
            yield path, child


def _row(file: _File) -> dict[str, Any]:
    train, info = "run_info.train_config", "train_info"
    kind = file.take("run_info.peft_config.peft_type")
    return {
        "run": file.id,
        "configuration": str(file.take("run_info.experiment_name") or file.id),
        "method": str(kind).lower() if kind else "full",
        "seed": file.take_count(f"{train}.seed", low=-int(_LARGEST)),
        "model": _text(file.take(f"{train}.model_id")),
        "outcome": _text(file.take(f"{info}.status")),
        "accuracy": file.take_number(*_last(file, "test accuracy"), low=0, high=1),
        "forgetting": file.take_number(*_last(file, "forgetting")),
        "trainable_parameters": file.take_count(f"{info}.num_trainable_params"),
        "adapter_bytes": file.take_count(f"{info}.file_size"),
        "peak_memory_bytes": file.take_count(
            f"{info}.accelerator_memory_max", f"{info}.cuda_memory_max"
        ),
        "training_seconds": file.take_number(f"{info}.train_time", low=0),
        "learning_rate": file.take_number(f"{train}.optimizer_kwargs.lr"),
    }


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _last(file: _File, name: str) -> list[str]:
    """Return the path of a metric of the last step that has it."""
    found = re.compile(rf"train_info\.metrics\.[^.]+\.{re.escape(name)}(?=\.|$)")
    paths = {match[0] for match in map(found.match, file.fields) if match}
    return [max(paths, key=_position)] if paths else []


def _position(path: str) -> int:
    """Return the index of a metric in its list; -1 where the metrics are no list."""
    index = path.split(".")[2]
    return int(index) if index.isdecimal() and len(index) < 10 else -1


def questions(accuracies: Sequence[float]) -> int:
    """Infer the smallest number of questions for which all accuracies are fractions of it.

    Raises:
        InputError: there is no such number in the plausible range.
    """
    fractions = [Fraction(one).limit_denominator(_MOST) for one in accuracies]
    exact = all(abs(float(f) - a) < 1e-9 for f, a in zip(fractions, accuracies, strict=True))
    fewest = math.lcm(*(one.denominator for one in fractions))
    if not exact or not _FEWEST <= fewest <= _MOST:
        raise InputError(
            "the number of test questions can't be inferred from the accuracies; give --items, "
            "such as 1319 for GSM8K"
        )
    return fewest


def _compare_with_best(rows: list[dict[str, Any]], items: int) -> None:
    """Add intervals, ties with the best and Pareto optimality to all rows with an accuracy."""
    scored = [row for row in rows if row["accuracy"] is not None]
    best = max(scored, key=lambda row: row["accuracy"])
    hits = [round(row["accuracy"] * items) for row in scored]
    best_hits = round(best["accuracy"] * items)
    p = [
        fisher_exact([[best_hits, items - best_hits], [right, items - right]]).pvalue  # pyright: ignore[reportAttributeAccessIssue]
        for right in hits
    ]
    for row, right, q in zip(scored, hits, benjamini_hochberg(p), strict=True):
        interval = binomtest(right, items).proportion_ci(0.95, method="exact")
        row |= {"ci_low": interval.low, "ci_high": interval.high, "n_items": items, "q": float(q),
                "tied": bool(q > TIED)}  # fmt: skip
        row["pareto_optimal"] = None if row["trainable_parameters"] is None else not any(
            _dominates(other, row) for other in scored
        )  # fmt: skip


def _dominates(other: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Return whether the other row is as good in size and accuracy, and better in one of them."""
    if other["trainable_parameters"] is None:
        return False
    other_size, other_accuracy = other["trainable_parameters"], other["accuracy"]
    size, accuracy = row["trainable_parameters"], row["accuracy"]
    is_as_good = other_size <= size and other_accuracy >= accuracy
    return is_as_good and (other_size, other_accuracy) != (size, accuracy)


def _remaining_fields(files: Sequence[_File], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Collect the fields without a column of their own, so that no information is lost."""
    return pd.DataFrame(
        [
            {"run": file.id, "configuration": row["configuration"], "field": path,
             "value": json.dumps(value)}
            for file, row in zip(files, rows, strict=True)
            for path, value in file.fields.items()
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
