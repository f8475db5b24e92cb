"""A training step of peftlens beside peft with transformers' Trainer, as a user writes it.

python analyses/performance/steps.py [ROUNDS]

SmolLM2-135M, LoRA of rank 8 on query and value, the same rows in the same batches, rate, schedule,
clipping and seed. Both take turns in one process; each row is the median over the rounds. Accuracy
is that of the same 300 test examples after the last round, scored in the same way. The share of the
floor is that of the least work (4 N floating-point operations a token below the head, the head
where the loss is) at the rate that this machine reaches for a large matrix product.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import peft
import torch
from torch.utils.data import SequentialSampler
from transformers import DataCollatorForSeq2Seq, Trainer, TrainingArguments
from writing import machine, write

import peftlens
from peftlens.encoding import Encoder, Row, length, training_batches
from peftlens.models.adapters import opened
from peftlens.models.base import open_base, resident
from peftlens.run import Run
from peftlens.scoring import choose
from peftlens.tasks import load_task

BATCH, RATE, LENGTH = 16, 1e-3, 256
TASKS = {"bbc_topic": 40, "boolq": 6}  # with their steps: rows of 12 and of 137 tokens


class InOrder(Trainer):
    """Trainer without shuffling, so that both read the same batches."""

    def _get_train_sampler(self, *_: object) -> SequentialSampler:
        return SequentialSampler(self.train_dataset)  # pyright: ignore[reportArgumentType]


def theirs(rows: list[list[Row]], dtype: str) -> tuple[float, torch.nn.Module]:
    """Seconds of training by the Trainer, and the model."""
    base = open_base("smollm2-135m", device="cpu", dtype=dtype)  # pyright: ignore[reportArgumentType]
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
        trainer = InOrder(
            model, arguments, train_dataset=data,
            data_collator=DataCollatorForSeq2Seq(base.tokenizer, label_pad_token_id=-100),
        )  # fmt: skip
        started = time.perf_counter()
        trainer.train()
        return time.perf_counter() - started, model


def ours(task: str, steps: int, dtype: str) -> tuple[float, Run]:
    """Seconds of the steps alone, as the Trainer's are, and the run."""
    config = peftlens.RunConfig(
        method="lora", task=task, dtype=dtype, device="cpu",
        training={"steps": steps, "batch_size": BATCH, "learning_rate": RATE, "log_every": 1,
                  "max_length": LENGTH},
    )  # fmt: skip
    folder = tempfile.mkdtemp()
    run = peftlens.train(config, folder)
    return sum(line["seconds"] for line in run.timing() if "step" in line), run


def floor(rows: list[list[Row]], dtype: str) -> float:
    """Seconds that the least work would take at this machine's measured rate."""
    base = resident("smollm2-135m", device="cpu", dtype=dtype)  # pyright: ignore[reportArgumentType]
    head = base.model.get_output_embeddings().weight.numel()  # pyright: ignore[reportOptionalMemberAccess]
    below = sum(p.numel() for p in base.model.parameters()) - head
    tokens = sum(length(row) for batch in rows for row in batch)
    scored = sum(row.scored for batch in rows for row in batch)
    return 4 * (below * tokens + head * scored) / rate(getattr(torch, dtype))


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
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found = []
    for task, steps in TASKS.items():
        base = resident("smollm2-135m", device="cpu", dtype="auto")
        encoder = Encoder.of(base, LENGTH)
        splits = load_task(task, {}).splits
        items, _ = encoder.items(splits["train"])
        test, _ = encoder.items(splits["test"][:300])
        batches = training_batches(
            [item.rows[item.correct] for item in items], BATCH, np.random.default_rng(0)
        )
        rows = [next(batches) for _ in range(steps)]
        tokens = sum(length(row) for batch in rows for row in batch)
        ways = {"peft + Trainer, float32": [], f"peft + Trainer, {base.dtype}": [], "peftlens": []}
        right = {}
        for _ in range(rounds):
            for way, times in ways.items():
                if way == "peftlens":
                    took, run = ours(task, steps, base.dtype)
                    with opened(run) as (model, _):
                        scored = choose(model, encoder, test)
                else:
                    took, model = theirs(rows, way.rpartition(" ")[2])
                    scored = choose(model.eval(), encoder, test)
                times.append(took)
                right[way] = float((scored.by_sum == scored.correct).mean())
        own = statistics.median(ways["peftlens"])
        least = floor(rows, base.dtype)
        for way, times in ways.items():
            took = statistics.median(times)
            found.append(
                {"task": task, "way": way, "tokens_a_row": round(tokens / steps / BATCH),
                 "tokens_per_second": round(tokens / took), "lowest": round(tokens / max(times)),
                 "highest": round(tokens / min(times)), "ratio": round(took / own, 2),
                 "share_of_floor": round(least / took, 3), "accuracy": round(right[way], 3),
                 "rounds": rounds}
            )  # fmt: skip
            print(found[-1], flush=True)
    write(Path(__file__), found, machine())


if __name__ == "__main__":
    main()
