"""One LoRA run as a user writes it with peft and transformers' Trainer, in a separate process.

python analyses/performance/peer.py MODEL DATA OUT RANK RATE SEED STEPS BATCH DTYPE

DATA is JSON: prompts and answers of a training and of a validation split.
"""

import json
import sys

import peft
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
    set_seed,
)


def main() -> None:
    """Train, evaluate, save."""
    model_folder, data, out, rank, rate, seed, steps, batch, dtype = sys.argv[1:]
    set_seed(int(seed))
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=getattr(torch, dtype))
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=int(rank), lora_alpha=16,
                             target_modules=["q_proj", "v_proj"])  # fmt: skip
    model = peft.get_peft_model(model, config)

    def encoded(prompt: str, answer: str) -> dict[str, list[int]]:
        before, after = (tokenizer(text)["input_ids"] for text in (prompt, answer))
        return {"input_ids": before + after, "labels": [-100] * len(before) + after}

    with open(data, encoding="utf-8") as file:
        splits = {name: [encoded(*row) for row in rows] for name, rows in json.load(file).items()}
    arguments = TrainingArguments(
        out, max_steps=int(steps), per_device_train_batch_size=int(batch),
        learning_rate=float(rate), warmup_steps=round(int(steps) / 10), report_to=[],
        save_strategy="no", seed=int(seed), disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model, arguments, train_dataset=splits["train"], eval_dataset=splits["validation"],
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=-100),
    )  # fmt: skip
    trainer.train()
    trainer.evaluate()
    model.save_pretrained(out)


if __name__ == "__main__":
    main()
