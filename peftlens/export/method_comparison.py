"""Export to the JSON layout of Hugging Face's method_comparison, one file per run.

Source: huggingface/peft, method_comparison/processing.py, which reads these files. Of its three
memory fields only the peak is measured here; it fills all three, as their upper bound.
"""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from peftlens.errors import InputError
from peftlens.io.files import write_json
from peftlens.results.invocations import redacted
from peftlens.results.item_scores import item_scores
from peftlens.results.study_results import StudyResults
from peftlens.results.table import last_steps, measured
from peftlens.runs.trained_model import TrainedModel


def export(one: StudyResults, out: Path) -> list[Path]:
    """Write the files, replacing those of the same runs.

    Raises:
        InputError: no run was scored on test examples.
    """
    if "task_items" not in one.tables:
        raise InputError(f"{one.folder} was not measured by task_items, which the layout needs")
    items = measured(one.tables["task_items"].frame)
    accuracy = item_scores(items).groupby(items["run"]).mean().dropna()
    losses = _forgetting(one)
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for run in one.runs:
        if run.id in accuracy.index:
            written.append(out / f"{run.config.method.replace(':', '-')}--{run.id}.json")
            write_json(written[-1], result(one, run, float(accuracy[run.id]), losses.get(run.id)))
    return written


def _forgetting(one: StudyResults) -> dict[str, float]:
    """Increase of the loss on general text at the end, by run; of the first suite of text."""
    if "forgetting" not in one.tables:
        return {}
    rows = last_steps(measured(one.tables["forgetting"].frame)).dropna(subset=["forgetting"])
    first = rows.drop_duplicates("run")
    return {
        str(run): float(rise) for run, rise in zip(first["run"], first["forgetting"], strict=True)
    }


def result(
    one: StudyResults, run: TrainedModel, accuracy: float, forgetting: float | None
) -> dict[str, Any]:
    """Convert one run to the layout of method_comparison."""
    config, record = run.config, run.record
    timing = run.timing()[-1]
    memory = timing.get("peak_memory_bytes")
    name = f"{one.configurations[run.id].replace(' ', '-')}-seed{config.seed}"
    return {
        "run_info": {
            "created_at": min((call["began"] for call in one.calls), default=None),
            "total_time": timing["seconds"],
            "experiment_name": f"{config.method}/{name}",
            "peft_branch": "peftlens",
            "train_config": _train_config(run),
            "peft_config": _peft_config(run),
            "error_msg": "",
        },
        "train_info": {
            "accelerator_memory_reserved_avg": memory,
            "accelerator_memory_max": memory,
            "accelerator_memory_reserved_99th": memory,
            "train_time": timing["seconds"],
            "file_size": (run.adapter() / "adapter_model.safetensors").stat().st_size,
            "num_trainable_params": record.results["trainable_parameters"],
            "num_total_params": record.results["base_parameters"],
            "status": "success" if record.status == "finished" else "failed",
            "metrics": _metrics(run, accuracy, forgetting),
        },
        "meta_info": _meta(run),
    }


def _train_config(run: TrainedModel) -> dict[str, Any]:
    config, training = run.config, run.config.training
    return {
        "model_id": redacted(config.base_model),
        "dtype": config.dtype,
        "max_seq_length": training.sequence_length,
        "batch_size": training.batch_size * training.gradient_accumulation_steps,
        "max_steps": training.max_steps,
        "seed": config.seed,
        "grad_norm_clip": training.max_grad_norm,
        "optimizer_type": "AdamW",
        "optimizer_kwargs": {"lr": training.learning_rate, "weight_decay": training.weight_decay},
        "lr_scheduler": training.lr_scheduler_type,
    }


def _peft_config(run: TrainedModel) -> dict[str, Any] | None:
    """What the adapter's folder says; None is full fine-tuning there."""
    if run.config.method == "full":
        return None
    stored = json.loads((run.adapter() / "adapter_config.json").read_text(encoding="utf-8"))
    return {"peft_type": run.config.method.upper()} | stored


def _metrics(run: TrainedModel, accuracy: float, forgetting: float | None) -> list[dict[str, Any]]:
    config = run.config.training
    examples = config.batch_size * config.gradient_accumulation_steps
    scores, last = [], {}
    for line in run.metrics():
        if "validation_accuracy" in line:
            step, seen = line["step"], line["step"] * examples
            scores.append({"step": step, "valid accuracy": line["validation_accuracy"],
                           "train loss": last.get("loss"), "train samples": seen})  # fmt: skip
        elif "loss" in line:
            last = line
    logged = pd.DataFrame([line for line in run.metrics() if "tokens" in line])
    tokens = logged["tokens"].mean() * config.max_steps if len(logged) else 0
    steps = run.record.results["steps"]
    end = {
        "step": steps,
        "test accuracy": accuracy,
        "train loss": last.get("loss"),
        "train samples": steps * examples,
        "train total tokens": round(tokens),
    }
    return [*scores, end if forgetting is None else end | {"forgetting": forgetting}]


def _meta(run: TrainedModel) -> dict[str, Any]:
    environment = run.record.environment
    packages = environment["packages"]
    names = ("transformers", "peft", "datasets", "bitsandbytes", "torch")
    return {
        "model_info": {"sha": run.record.depends_on["base"]},
        "dataset_info": {redacted(run.config.task): {"sha": run.record.depends_on["data"]}},
        "package_info": {f"{name}-version": packages.get(name) for name in names},
        "system_info": {
            "system": environment["system"],
            "machine": environment["machine"],
            "accelerator": environment["device"],
        },
    }
