"""Dry run: train a planned run for three steps, to measure what all of it would cost."""

import json
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
from accelerate.utils import set_seed

from peftlens.data.collate import length
from peftlens.models.snapshot import restored_after
from peftlens.training import keep
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.peak_memory import PeakMemory
from peftlens.training.run_plan import RunPlan
from peftlens.training.train_state import TrainState
from peftlens.training.trainer import (
    attach_planned,
    calibrate,
    open_writer,
    preference_pairs,
    run_training_loop,
    single_run_loss,
)


@dataclass(frozen=True)
class DryRun:
    """Cost of a run, measured over a few steps.

    Attributes:
        trainable_parameters: number of parameters that the optimizer changes.
        step_seconds: median over the steps but the first; None for a run without steps.
        tokens: tokens per optimizer step, mean over all training rows.
        peak_memory_bytes: peak above the loaded base; None where it can't be measured.
        adapter_bytes: size of the adapter's files.
    """

    trainable_parameters: int
    step_seconds: float | None
    tokens: float
    peak_memory_bytes: int | None
    adapter_bytes: int


def dry_run(planned: RunPlan) -> DryRun:
    """Train a planned run for three steps and discard it."""
    config = planned.config.training.model_copy(
        update={
            "max_steps": min(3, planned.config.training.max_steps),
            "checkpoint_steps": (),
            "logging_steps": 1,
        }
    )
    short = replace(planned, config=planned.config.model_copy(update={"training": config}))
    with restored_after(planned.base.model), TemporaryDirectory() as temporary:
        task = TokenizedTask.of(planned.base, planned.task, config.sequence_length)
        pairs = preference_pairs(planned, task)
        writer = open_writer(short, Path(temporary))
        set_seed(planned.config.seed)
        peak = PeakMemory.start(planned.base.device)
        loader = TrainingLoader.of(task.collator, task.train, config)
        kept = keep.prepare(short, loader)
        model = attach_planned(planned)
        term = kept(model) if kept else None
        calibrate(planned, model, task)
        if config.max_steps:
            state = TrainState.of_single_run(short, writer, model, loader, {}, pairs, term)
            run_training_loop([state], model, partial(single_run_loss, model, loader))
        peak_memory_bytes = peak.bytes()
        adapter_bytes = sum(file.stat().st_size for file in writer.save_adapter(model).iterdir())
        lines = Path(temporary, "timing.jsonl").read_text(encoding="utf-8").splitlines()
        trainable_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    seconds = [json.loads(line)["seconds"] for line in lines]
    rows_per_step = config.batch_size * config.gradient_accumulation_steps
    return DryRun(
        trainable_parameters=trainable_parameters,
        step_seconds=median(seconds[1:] or seconds) if seconds else None,
        tokens=rows_per_step * float(np.mean([length(row) for row in loader.rows])),
        peak_memory_bytes=peak_memory_bytes,
        adapter_bytes=adapter_bytes,
    )
