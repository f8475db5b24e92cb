"""A training step of peftlens and of peft with transformers' Trainer, as a user writes it.

python analyses/performance/steps.py [ROUNDS]

SmolLM2-135M, LoRA of rank 8 on query and value, the same rows, batch size, rate, schedule, clipping
and seed. The Trainer puts rows into batches as it does by itself, by chance, and once more in the
very batches that peftlens makes, which are of rows of about one length. peftlens trains plain and
with compiled blocks, as a long study does; compiling comes before the first round and is not
counted (see `compiled`). All take turns in one process; each row is the median over the rounds, in
tokens that are no padding. Accuracy is that of the same 300 headlines or 60 passages after the last
round, scored in the same way. The share of the floor is that of the least work (4 N floating-point
operations a token below the head, the head where the loss is) at the rate that this machine reaches
for a large matrix product.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import peft
import torch
from measurements import in_turn, write
from torch.utils.data import SequentialSampler
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments

from peftlens.adapters.checkpoint import open_run
from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator, length, training_batches
from peftlens.data.tokenization import TokenizedAnswer, TokenizedExample
from peftlens.evaluation.log_likelihood import choose
from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.models.base_model_cache import BaseModelCache
from peftlens.runs.config import RunConfig
from peftlens.runs.run import Run
from peftlens.tasks import load_task
from peftlens.training.run_plan import plan_run
from peftlens.training.trainer import train_run

BATCH, RATE, LENGTH = 16, 1e-3, 256
CONTEXT = RunContext()
OURS = {"peftlens": False, "peftlens, compiled": True}
# With their steps and test examples: short rows, headlines, and long ones, passages.
TASKS = {"bbc_topic": (40, 300), "boolq": (4, 60)}


class InOrder(Trainer):
    """Trainer without shuffling, to read the batches that it is given."""

    def _get_train_sampler(self, *_: object) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # pyright: ignore[reportArgumentType]


def theirs(
    rows: list[list[TokenizedAnswer]], dtype: str, kind: type[Trainer]
) -> tuple[float, torch.nn.Module]:
    """Seconds of training by the Trainer, and the model."""
    base = load_base_model("smollm2-135m", device="cpu", dtype=dtype)  # pyright: ignore[reportArgumentType]
    torch.manual_seed(0)
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16,
                             target_modules=["q_proj", "v_proj"])  # fmt: skip
    model = peft.get_peft_model(base.model, config)
    data = [
        {"input_ids": [*row.prompt, *row.answer],
         "labels": [*[-100] * len(row.prompt), *row.answer]}
        for batch in rows for row in batch
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, max_steps=len(rows), per_device_train_batch_size=BATCH, learning_rate=RATE,
            warmup_steps=round(len(rows) / 10), report_to=[], save_strategy="no", use_cpu=True,
            disable_tqdm=True, logging_strategy="no", weight_decay=0.0,
        )  # fmt: skip
        trainer = kind(
            model, arguments, train_dataset=data,
            data_collator=DataCollatorForSeq2Seq(base.tokenizer, label_pad_token_id=-100),
        )  # fmt: skip
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started, model


def ours(task: str, steps: int, dtype: str, compiled: bool) -> tuple[float, Run]:
    """Seconds of the steps alone, as the Trainer's are, and the run."""
    config = RunConfig(
        method="lora", task=task, dtype=dtype, device="cpu",
        task_config={"split": {"max_validation": 16}},  # its time is not counted
        training={"max_steps": steps, "batch_size": BATCH, "learning_rate": RATE,
                  "logging_steps": 1, "max_length": LENGTH},
    )  # fmt: skip
    planned = replace(plan_run(config, CONTEXT), compiled=compiled)
    run = train_run(planned, Path(tempfile.mkdtemp()))
    return sum(line["seconds"] for line in run.timing() if "step" in line), run


def floor(base: BaseModel, rows: list[list[TokenizedAnswer]]) -> float:
    """Seconds that the least work would take at this machine's measured rate."""
    head = base.model.get_output_embeddings().weight.numel()  # pyright: ignore[reportOptionalMemberAccess]
    below = sum(p.numel() for p in base.model.parameters()) - head
    tokens = sum(length(row) for batch in rows for row in batch)
    scored = sum(row.scored for batch in rows for row in batch)
    return 4 * (below * tokens + head * scored) / rate(getattr(torch, base.dtype))


def rate(dtype: torch.dtype) -> float:
    """Floating-point operations a second of a product that the machine is best at."""
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    times = []
    for _ in range(9):
        started = time.perf_counter()
        _ = a @ b
        times.append(time.perf_counter() - started)
    return 2 * 2048**3 / statistics.median(times)


def main() -> None:
    """Write reports/performance/steps.csv."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    base_models, found = BaseModelCache(), []
    for task, (steps, examples) in TASKS.items():
        base = base_models.get("smollm2-135m", device="cpu")
        encoder = Collator.of(base, LENGTH)
        splits = load_task(task, {}).splits
        items, _ = encoder.items(splits["train"])
        test, _ = encoder.items(splits["test"][:examples])
        batches = training_batches(
            [item.rows[item.correct] for item in items], BATCH, np.random.default_rng(0)
        )
        rows = [next(batches) for _ in range(steps)]
        tokens = sum(length(row) for batch in rows for row in batch)
        models: dict[str, torch.nn.Module | Run] = {}

        def trained(way: str, dtype: str, kind: type[Trainer], rows=rows, models=models) -> float:
            took, models[way] = theirs(rows, dtype, kind)
            return took

        def own(way: str, task=task, steps=steps, dtype=base.dtype, models=models) -> float:
            took, models[way] = ours(task, steps, dtype, OURS[way])
            return took

        own("peftlens, compiled")

        ways: dict[str, Callable[[], float]] = {
            f"peft + Trainer, {dtype}, {batching}": partial(
                trained, f"peft + Trainer, {dtype}, {batching}", dtype, kind
            )
            for dtype in dict.fromkeys(("float32", base.dtype))
            for batching, kind in (("its batches", Trainer), ("our batches", InOrder))
        }
        took = {
            way: statistics.median(times)
            for way, times in in_turn(
                ways | {way: partial(own, way) for way in OURS}, rounds
            ).items()
        }
        least = floor(base, rows)
        for way, own_time in took.items():
            found.append(
                {"task": task, "way": way, "tokens_a_row": round(tokens / steps / BATCH),
                 "tokens_per_second": round(tokens / own_time),
                 "ratio": round(own_time / took["peftlens"], 2),
                 "ratio_compiled": round(own_time / took["peftlens, compiled"], 2),
                 "share_of_floor": round(least / own_time, 3),
                 "accuracy": round(accuracy(models[way], base, encoder, test), 3),
                 "rounds": rounds}
            )  # fmt: skip
            print(found[-1], flush=True)
    write(__file__, found)


def accuracy(
    trained: torch.nn.Module | Run,
    base: BaseModel,
    encoder: Collator,
    items: list[TokenizedExample],
) -> float:
    """Share of items answered right."""
    if isinstance(trained, Run):
        with open_run(trained, base) as model:
            scored = choose(model, encoder, items)
    else:
        scored = choose(trained.eval(), encoder, items)
    return float((scored.by_sum == scored.correct).mean())


if __name__ == "__main__":
    main()
