"""Studies on disk that nobody trained: runs with made-up measurements, for what reads results."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from peftlens import registry
from peftlens.evaluation.probe_runner import describe
from peftlens.results import table
from peftlens.results.configurations import configurations_table
from peftlens.results.table import IDENTITY, STATUS, Table, measured, not_applicable
from peftlens.runs import store
from peftlens.runs.config import RunConfig
from peftlens.runs.configuration_names import configurations
from peftlens.runs.run import SCHEMA, Record, Run, environment, versions

PROBES = ("task_accuracy", "task_items", "parameter_count", "cost", "rank_chart",
          "paired_accuracy", "forgetting", "learning", "soft_prompt_neighbors",
          "soft_prompt_null")  # fmt: skip
LORA = {"rank": 8, "alpha": 16.0, "target_modules": ["query_value"]}  # its defaults
BASE, DATA = "ba5e" * 16, "da7a" * 16


def lora(rank, seed, rate=1e-3, **config):
    return RunConfig(method="lora", task="bbc_topic", method_config={"rank": rank, **config},
                     seed=seed, device="cpu", dtype="float32",
                     training={"max_steps": 40, "learning_rate": rate})  # fmt: skip


def plain(method, seed, **config):
    return RunConfig(method=method, task="bbc_topic", method_config=config, seed=seed,
                     device="cpu", dtype="float32",
                     training={"max_steps": 40, "learning_rate": 1e-3})  # fmt: skip


def study(folder: Path, configs, probes=PROBES, name="made up", items=40, **about) -> Path:
    """A study's folder: its runs, their measurements, its tables."""
    runs = [run(folder / "runs", config, number) for number, config in enumerate(configs)]
    labels = configurations(one.record for one in runs)
    index = {
        "schema_version": SCHEMA,
        "name": name,
        "runs": [one.id for one in runs],
        "configurations": labels,
        "names": {one.id: f"{labels[one.id]} seed={one.config.seed}" for one in runs},
        "probes": list(probes),
    } | about
    (folder / "study.json").write_text(json.dumps(index))
    (folder / "study.toml").write_text(f"name = {json.dumps(name)}\n")
    (folder / "tables").mkdir()
    if runs:
        for one in _tables(runs, labels, probes, items):
            table.write(one, folder / "tables" / f"{one.name}.parquet")
    return folder


def _tables(runs, labels, probes, items):
    """As `probe_runner.collect` makes them, of measurements that are made up."""
    made = [_measurements(one.config, np.random.default_rng(n), items)
            for n, one in enumerate(runs)]  # fmt: skip
    found = {"configurations": configurations_table(runs, labels)}
    for name in made[0]:
        probe = registry.load("probes", name)
        rows = [_rows(one, labels[one.id], probe, own[name])
                for one, own in zip(runs, made, strict=True)]  # fmt: skip
        columns = (*IDENTITY, *probe.COLUMNS, *STATUS)
        frame = pd.concat(rows)[[column.name for column in columns]].convert_dtypes()
        found[name] = Table(
            name, probe.VERSION, columns, probe.CHARTS, frame.reset_index(drop=True)
        )
    for name in probes:
        if name not in found:
            probe = registry.load("probes", name)
            inputs = (*probe.INPUTS, "configurations")
            given = ({one: measured(found[one].frame) for one in inputs},)
            config = (probe.Config(),) if hasattr(probe, "Config") else ()
            frame = probe.combine(*given, *config)
            found[name] = Table(name, probe.VERSION, probe.COLUMNS, probe.CHARTS, frame)
    return [found[name] for name in ("configurations", *probes)]


def _rows(one, label, probe, rows):
    names = [column.name for column in probe.COLUMNS]
    if rows:
        frame = pd.DataFrame(rows, columns=names).assign(status="measured", reason=None)
    else:
        frame = not_applicable(probe.COLUMNS, "it has no soft prompt")
    return frame.assign(run=one.id, configuration=label, method=one.config.method,
                        seed=one.config.seed).astype(object)  # fmt: skip


def run(runs: Path, config: RunConfig, number: int) -> Run:
    folder = runs / f"{number:012x}"
    (folder / "adapter").mkdir(parents=True)
    (folder / "adapter" / "adapter_model.safetensors").write_bytes(bytes(64))
    (folder / "adapter" / "adapter_config.json").write_text(
        json.dumps({"peft_type": config.method.upper(), "r": config.method_config.get("rank")})
    )
    rank = config.method_config.get("rank", 0)
    options = "".join(f" {key}={value}" for key, value in config.method_config.items())
    if config.method == "lora" and config.training.learning_rate:
        options += f" learning_rate={config.training.learning_rate}"
    filled = (LORA if config.method == "lora" else {}) | config.method_config
    record = Record(
        schema_version=SCHEMA,
        id=folder.name,
        configuration=f"{config.method}{options}",
        config=config.model_copy(update={"method_config": filled}),
        depends_on={"base": BASE, "data": DATA, "versions": versions()},
        environment=environment() | {"device": "cpu", "threads": 1},
        status="finished",
        results={"steps": config.training.max_steps, "base_parameters": 134_515_008,
                 "trainable_parameters": 57_600 * rank or 11_520, "validation_accuracy": 0.75},
    )  # fmt: skip
    (folder / "run.json").write_text(record.model_dump_json())
    lines = [{"step": 10 * n, "loss": 2.0 / n, "tokens": 100} for n in (1, 2, 3, 4)]
    _lines(folder / "metrics.jsonl", [*lines, {"step": 40, "validation_loss": 0.5,
                                               "validation_accuracy": 0.75}])  # fmt: skip
    _lines(folder / "timing.jsonl", [{"seconds": 12.5, "peak_memory_bytes": 200_000_000}])
    store.seal(folder)
    return Run(folder)


def measured_run(runs: Path, config: RunConfig, number: int, probes, items=100) -> Run:
    """A run's folder with its probes' tables in it, as `probe_runner.run_probe` leaves them."""
    one = run(runs, config, number)
    made = _measurements(config, np.random.default_rng(number), items)
    one.table_folder.mkdir()
    for name in probes:
        probe, spec = registry.load("probes", name), _spec(name)
        names = [column.name for column in probe.COLUMNS]
        frame = pd.DataFrame(made[name], columns=names).assign(status="measured", reason=None)
        columns = (*probe.COLUMNS, *STATUS)
        saved = Table(name, spec.version, columns, probe.CHARTS, frame, spec.config, (one.id,))
        table.write(saved, one.table_folder / f"{name}.parquet")
    return one


_spec = cache(lambda name: describe(name, {}))


def _lines(file: Path, lines) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _measurements(config: RunConfig, rng, items: int):
    rank = config.method_config.get("rank", 0)
    right = rng.random(items) < (0.6 + 0.05 * min(rank, 4) if rank else 0.5)
    prompt = config.method == "prompt_tuning"
    tokens = "␣news <b>x</b> </script>" if prompt else ""
    return {
        "task_items": [
            {
                "item": n,
                "correct": 0,
                "chosen": 0 if hit else 1,
                "chosen_per_byte": 0,
                "chosen_calibrated": 0 if hit else 1,
                "tied": False,
                "loss": float(1 - hit / 2),
                "label_loss": float(1 - hit / 2),
                "majority": 0,
                "n_answers": 2,
            }
            for n, hit in enumerate(right)
        ],
        "parameter_count": [
            {
                "rank": rank or None,
                "trainable_parameters": 57_600 * rank or 11_520,
                "share": 0.001,
                "adapter_bytes": 230_400 * max(rank, 1),
            }
        ],
        "cost": [
            {
                "learning_rate": config.training.learning_rate,
                "validation_accuracy": float(right.mean()),
                "validation_loss": 0.5,
                "step_seconds": 0.5 + 0.01 * rank,
                "tokens_per_second": 100.0,
                "training_seconds": 20.0,
                "peak_memory_bytes": 200_000_000 + rank * 1_000_000,
                "optimizer_state_bytes": 1_000_000,
            }
        ],
        "forgetting": [
            {
                "step": step,
                "suite": suite,
                "forgetting": step * rise / 40,
                "n_items": 20,
                "ci_low": step * rise / 40 - 0.1,
                "ci_high": step * rise / 40 + 0.1,
                "n_tokens": 500,
            }
            for suite, rise in (("wiki", 0.3), ("news", 0.1))
            for step in (0, 40)
        ],
        "learning": [
            {"step": step, "loss": 2.0 - step / 40, "accuracy": 0.5 + step / 160, "n_items": 20}
            for step in (0, 40)
        ],
        "soft_prompt_neighbors": [
            {
                "step": step,
                "position": n,
                "metric": "cosine",
                "tokens": tokens.split(),
                "token_ids": [1, 2],
                "similarities": [0.5, 0.4],
                "similarity": 0.5,
                "start_token": "=cmd()",
                "nearest_unchanged": True,
                "relative_displacement": 0.1 * step / 40,
                "start_cosine": 1 - step / 40 * (0.2 + 0.2 * n),
                "off_vocabulary": 0.2,
                "space": "embedding",
            }
            for step in (0, 40)
            for n in range(3)
        ]
        if prompt
        else [],
        "soft_prompt_null": [
            {
                "step": step,
                "position": n,
                "kind": "soft prompt",
                "metric": "cosine",
                "verdict": "readable",
                "q": 0.01,
                "moved": step * (1 + 0.1 * (n or 0)) / 40,
                "tightness": 0.45 + 0.05 * (n or 0),
                "p_random_directions": 0.01,
                "mean_random_directions": 0.25,
                "mean_steps": 0.48,
                "power_at_0.6": 0.9 if n is None else None,
                "readable": 1.0,
                "draws": 100,
            }
            for step in (0, 40)
            for n in (None, 0, 1, 2)
        ]
        if prompt
        else [],
    }
