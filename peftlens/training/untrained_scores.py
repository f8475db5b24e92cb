"""Scores of the untrained model on a run's validation examples, cached on disk.

A score says little without that of the model before training, on the same examples. All runs of one
base, task and sequence length share it; of a task with a new head, those of one seed.
"""

from dataclasses import asdict

import safetensors.torch
import torch

from peftlens.io.files import cache_dir, canonical_json, sha256_text
from peftlens.io.tensor_cache import cached_tensors
from peftlens.models.heads import draw_head, head_seed
from peftlens.models.snapshot import restored_after
from peftlens.runs.run import versions
from peftlens.training.data_loader import TokenizedTask
from peftlens.training.run_plan import RunPlan
from peftlens.training.validation import validate

_VERSION = 1  # version of the cached files; rises when the same model would get other scores


def untrained_scores(planned: RunPlan) -> dict[str, float]:
    """Validate a run's base model with nothing attached, or load the scores from the cache.

    A new head has the weights that it has in the run before the first step.

    Returns:
        The scores that the run's results have after training; see `validate`.
    """
    task = validated_task(planned)
    file = cache_dir("untrained_scores") / f"{_key(planned)}.safetensors"

    def make() -> bytes:
        with restored_after(planned.base.model) as model:
            draw_head(model, _head_seed(planned))
            scores = validate(model.eval(), task, "Validating the untrained model")
        values = {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}
        return safetensors.torch.save(values)

    loaded = cached_tensors(file, make, safetensors.torch.load)
    return {name: float(value) for name, value in loaded.items()}


def validated_task(planned: RunPlan) -> TokenizedTask:
    """Return the tokenized task of a run, whose validation examples are scored."""
    length = planned.config.training.sequence_length
    return TokenizedTask.of(planned.base, planned.task, length)


def _head_seed(planned: RunPlan) -> int:
    return head_seed(planned.config.seed, planned.depends_on["data"])


def _key(planned: RunPlan) -> str:
    base = planned.base
    inputs = {
        "base": base.sha256,
        "device": base.device,
        "dtype": base.dtype,
        "threads": torch.get_num_threads(),  # their number affects rounding
        "data": planned.depends_on["data"],
        "max_length": planned.config.training.sequence_length,
        "head": [asdict(base.head), _head_seed(planned)] if base.head else None,
        "versions": versions(),
        "version": _VERSION,
    }
    return sha256_text(canonical_json(inputs))[:32]
