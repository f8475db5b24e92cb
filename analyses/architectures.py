"""Write reports/architectures: what works on tiny models of 24 architectures, and what is refused.

python analyses/architectures.py [NAME ...]

Every method is trained for a step on every architecture, and every probe measures LoRA, a soft
prompt and a prefix on ten of them. A cell says "works", or the line that peftlens prints instead.
An "ERROR" is a defect: an exception that is no such line.
"""

import io
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import tiny_architectures

from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.evaluation.probe_runner import collect
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.training.run_plan import plan_run
from peftlens.training.trainer import train_run

OUT = Path(__file__).parent.parent / "reports" / "architectures"
METHODS = ("lora", "dora", "vera", "oft", "ia3", "ln_tuning", "bitfit", "last_layers", "full",
           "head", "embeddings", "trainable_tokens", "bottleneck", "parallel_adapter", "mam",
           "loreft", "adaption_prompt", "prompt_tuning", "p_tuning", "prefix_tuning")  # fmt: skip
PROBED = ("bart", "bloom", "gemma3", "gptj", "mamba", "mixtral", "mt5", "opt_350m", "phi3", "qwen3")
PROBED_METHODS = ("lora", "prompt_tuning", "prefix_tuning")
SHORT = {"num_virtual_tokens": 4}
WORKS = "works"


def data_file(folder: Path) -> str:
    """Write a task of sixty rows with two labels, and return its name."""
    words = ("good", "bad", "fine", "poor", "great", "awful")
    rows = [
        {"text": f"{word} {number}", "label": "up" if index % 2 == 0 else "down"}
        for number in range(10)
        for index, word in enumerate(words)
    ]
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return f"file:{file}"


def outcome(action: Callable[[], object]) -> str:
    """Do something silently; say that it works, or the line or the defect that it ends in."""
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            said = action()
    except InputError as error:
        return " ".join(str(error).split())
    except Exception as error:  # noqa: BLE001  # a defect, which is what the sweep looks for
        place = traceback.extract_tb(error.__traceback__)[-1]
        file = Path(place.filename).name
        return f"ERROR {type(error).__name__} at {file}:{place.lineno}: {error}"
    return said if isinstance(said, str) else WORKS


@dataclass(frozen=True)
class Bench:
    """A saved base model and a task, in a temporary folder.

    Attributes:
        folder: the temporary folder.
        base: folder of the base model.
        task: name of the task.
        context: access to the base model, loaded once.
    """

    folder: Path
    base: str
    task: str
    context: RunContext = field(default_factory=RunContext)

    def plain(self, text: str) -> str:
        """Remove the temporary folder from a message."""
        return text.replace(f"{self.folder}/", "")


@contextmanager
def bench(name: str) -> Iterator[Bench]:
    """Yield a bench for an architecture, deleted afterwards."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        yield Bench(folder, tiny_architectures.save(name, folder / "base"), data_file(folder))


def trained(here: Bench, method: str) -> Run:
    """Train a method for a step.

    Raises:
        ArithmeticError: it trains another number of parameters than its formula gives.
    """
    has_prompt = method in ("prompt_tuning", "p_tuning", "prefix_tuning")
    config = RunConfig.model_validate(
        {
            "method": method,
            "task": here.task,
            "base_model": here.base,
            "method_config": SHORT if has_prompt else {},
            "device": "cpu",
            "dtype": "float32",
            "training": {"max_steps": 1, "batch_size": 4, "checkpoint_steps": [0]},
        }
    )
    planned = plan_run(config, here.context)
    run = train_run(planned, here.folder / "runs")
    formula = planned.method.trainable_parameters(planned.method_config, planned.shapes)
    if formula != run.record.results["trainable_parameters"]:
        raise ArithmeticError(f"the formula gives {formula} trainable parameters")
    return run


def methods_table(names: Sequence[str], methods: Sequence[str] = METHODS) -> pd.DataFrame:
    """One row per architecture and one column per method."""
    rows = []
    for name in names:
        with bench(name) as here:
            cells = {m: here.plain(outcome(partial(trained, here, m))) for m in methods}
        rows.append({"architecture": name} | cells)
        print(name, sum(cell == WORKS for cell in cells.values()), "of", len(methods), "work")
    return pd.DataFrame(rows)


def probes_table(names: Sequence[str], probes: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per architecture and probe, and one column per method."""
    chosen = [
        name
        for name in probes or registry.names("probes")
        if hasattr(registry.load("probes", name), "measure")
    ]
    rows = []
    for name in names:
        with bench(name) as here:
            columns = {method: _measured(here, method, chosen) for method in PROBED_METHODS}
        for index, probe in enumerate(chosen):
            cells = {method: cells[index] for method, cells in columns.items()}
            rows.append({"architecture": name, "probe": probe} | cells)
        print(name, len(chosen), "probes")
    return pd.DataFrame(rows)


def _measured(here: Bench, method: str, probes: Sequence[str]) -> list[str]:
    """Measure a newly trained run by every probe."""
    runs: list[Run] = []
    training = outcome(lambda: runs.append(trained(here, method)))
    if not runs:
        return [here.plain(f"not trained: {training}")] * len(probes)
    return [here.plain(outcome(partial(_status, here, runs[0], probe))) for probe in probes]


def _status(here: Bench, run: Run, probe: str) -> str:
    """Measure a run; say that it works, or why a probe does not apply or failed."""
    frame = collect(here.context, [run], probe).frame
    if (frame["status"] == "measured").any():
        return WORKS
    mark = "ERROR " if (frame["status"] == "failed").any() else ""
    return mark + str(frame["reason"].iloc[0])


def defects(table: pd.DataFrame) -> list[str]:
    """Return the cells that are defects."""
    return [cell for column in table for cell in table[column] if str(cell).startswith("ERROR")]


def readme(methods: pd.DataFrame, probes: pd.DataFrame) -> str:
    """Text of the folder's README."""
    cells = methods.drop(columns="architecture").to_numpy().ravel()
    measured = probes.drop(columns=["architecture", "probe"]).to_numpy().ravel()
    lines = [f"| {row[0]} | {sum(cell == WORKS for cell in row[1:])} |" for row in methods.values]
    return f"""# What works on which architecture

{len(methods.columns) - 1} methods on tiny random models of {len(methods)} architectures: of {len(cells)} combinations {sum(cells == WORKS)} train, and {len(cells) - sum(cells == WORKS)} are refused by a line that says why. Every probe of a single run was tried on {probes["architecture"].nunique()} architectures with LoRA, a soft prompt and a prefix: of {len(measured)} combinations {sum(measured == WORKS)} measure, and each of the others has its reason. {len(defects(methods)) + len(defects(probes))} end in another error.

| architecture | methods that work, of {len(methods.columns) - 1} |
|---|---|
{chr(10).join(lines)}

[`methods.csv`](methods.csv) and [`probes.csv`](probes.csv) hold every cell. A model of two blocks shows that the parts fit, not that training helps. Written by `python analyses/architectures.py`.
"""  # noqa: E501


def main() -> None:
    """Write both tables and the README, for all architectures or for those named."""
    names = sys.argv[1:] or list(tiny_architectures.NAMES)
    methods = methods_table(names)
    probes = probes_table([name for name in PROBED if name in names])
    OUT.mkdir(parents=True, exist_ok=True)
    methods.to_csv(OUT / "methods.csv", index=False)
    probes.to_csv(OUT / "probes.csv", index=False)
    (OUT / "README.md").write_text(readme(methods, probes), encoding="utf-8")
    for cell in [*defects(methods), *defects(probes)]:
        print(cell)


if __name__ == "__main__":
    main()
