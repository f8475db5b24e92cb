"""Training steps of a LoRA: what `compiled` and `breakdown` time."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from peftlens.adapters import checkpoint
from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import length
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.evaluation.log_likelihood import answer_loss
from peftlens.models.base_model import BaseModel
from peftlens.models.snapshot import restored_after
from peftlens.runs.config import RunConfig
from peftlens.training.attention_backend import attention_backend
from peftlens.training.compiled_blocks import compile_blocks
from peftlens.training.data_loader import TokenizedTask, TrainingLoader
from peftlens.training.optimizer import OptimizerStep
from peftlens.training.run_plan import plan_run


@dataclass
class LoraSteps:
    """Steps of a LoRA of rank 8 on SmolLM2-135M, always on the same batches and at a rate of zero.

    Attributes:
        base: base model.
        rows: rows of each batch.
        steps: function that takes one step for each batch, and returns the last loss, nats.
    """

    base: BaseModel
    rows: list[list[TokenizedAnswer]]
    steps: Callable[[], float]

    @property
    def tokens(self) -> int:
        """Tokens of all batches without padding."""
        return sum(length(row) for rows in self.rows for row in rows)

    @property
    def least_operations(self) -> float:
        """Least operations of all batches: 4 N a token below the head, the head where scored."""
        head = self.base.model.get_output_embeddings().weight.numel()  # pyright: ignore[reportOptionalMemberAccess]
        below = sum(math.prod(shape) for shape in self.base.shapes.values()) - head
        scored = sum(row.scored for rows in self.rows for row in rows)
        return 4 * (below * self.tokens + head * scored)

    def compile(self) -> None:
        """Run compiled blocks from now on."""
        assert compile_blocks(self.base)


@contextmanager
def lora_steps(task: str, dtype: str, count: int, batch_size: int = 16) -> Iterator[LoraSteps]:
    """Attach a LoRA and prepare `count` batches of a task."""
    training = {"max_steps": count, "batch_size": batch_size, "max_length": 256}
    config = RunConfig(method="lora", task=task, device="cpu", dtype=dtype, training=training)  # pyright: ignore[reportArgumentType]
    planned = plan_run(config, RunContext())
    tokenized = TokenizedTask.of(planned.base, planned.task, 256)
    batches = TrainingLoader.of(tokenized.collator, tokenized.train, planned.config.training)
    each = batches.steps(0)
    rows = [next(each)[0] for _ in range(count)]
    with restored_after(planned.base.model):
        torch.manual_seed(0)
        model = checkpoint.attach(planned.base.model, "lora", planned.method_config)
        model.train()
        # at a rate of zero all rounds have the same losses
        still = planned.config.training.model_copy(update={"learning_rate": 0.0})
        optimizer = OptimizerStep(model.parameters(), still)

        def steps() -> float:
            loss = torch.zeros(())
            for number, part in enumerate(rows, 1):
                batch = tokenized.collator.batch(part)
                with attention_backend(batch):
                    loss = answer_loss(model, batch) / sum(row.scored for row in part)
                loss.backward()
                optimizer.step(number, loss.item())
                optimizer.zero_grad()
            return loss.item()

        yield LoraSteps(planned.base, rows, steps)
