"""A training step with and without torch.compile: time saved, and time for compilation.

python analyses/performance/compiled.py

LoRA of rank 8 on SmolLM2-135M, forward and backward pass of 16 headlines. Each block is compiled by
itself, with sizes left open, so that one compilation serves all blocks and lengths. The cache of
earlier compilations is off.
"""

import os

os.environ["TORCHINDUCTOR_FORCE_DISABLE_CACHES"] = "1"  # before torch is loaded

import statistics

import torch
from measurements import seconds, write

from peftlens.adapters import checkpoint
from peftlens.adapters.run_context import RunContext
from peftlens.evaluation.log_likelihood import answer_loss
from peftlens.models.snapshot import restored_after
from peftlens.runs.config import RunConfig
from peftlens.training.attention_backend import attention_backend
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.run_plan import plan_run

STEPS, ROUNDS = 20, 3


def main() -> None:
    """Write reports/performance/compiled.csv."""
    planned = plan_run(
        RunConfig(method="lora", task="bbc_topic", device="cpu", training={"max_steps": STEPS}),
        RunContext(),
    )
    task = TokenizedTask.of(planned.base, planned.task, 256)
    batches = TrainingLoader.of(task.collator, task.train, planned.config.training).steps(0)
    parts = [next(batches)[0] for _ in range(STEPS)]
    with restored_after(planned.base.model):
        torch.manual_seed(0)
        model = checkpoint.attach(planned.base.model, "lora", planned.method_config)
        model.train()
        losses: list[float] = []

        def steps() -> None:
            for rows in parts:
                batch = task.collator.batch(rows)
                with attention_backend(batch):
                    loss = answer_loss(model, batch) / sum(row.scored for row in rows)
                loss.backward()
                for parameter in model.parameters():
                    parameter.grad = None
            losses.append(loss.item())

        steps()
        plain = statistics.median(seconds(steps) for _ in range(ROUNDS))
        for block in model.get_base_model().model.layers:
            block.compile(dynamic=True)
        first = seconds(steps)
        compiled = statistics.median(seconds(steps) for _ in range(ROUNDS))
    write(
        __file__,
        [
            {"way": way, "steps": STEPS, "seconds": round(took, 1),
             "ratio": round(plain / took, 2), "loss": round(losses[index], 3)}
            for way, took, index in (
                ("without", plain, 1), ("compiled, first pass", first, ROUNDS + 1),
                ("compiled, after it", compiled, -1),
            )
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
