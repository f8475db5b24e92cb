"""Answers written per second in batches of 16, against one by one.

python analyses/performance/generation.py

SmolLM2-135M with the adapter of each method, trained for one step; the beginnings of 16 passages,
which no model ends early, are continued by 32 tokens. Both ways take turns in one process and give
the same texts; medians of three rounds.
"""

import statistics
import tempfile

from measurements import in_turn, seconds, write

import peftlens as pl
from peftlens.adapters.checkpoint import open_run
from peftlens.data.collate import Collator
from peftlens.evaluation.generation import ROWS, generate
from peftlens.models.base_model import load_base_model
from peftlens.tasks import load_task

METHODS = ("lora", "prompt_tuning", "bottleneck")
PROMPTS, LENGTH, TOKENS, REPEATS = 16, 24, 32, 3


def main() -> None:
    """Write reports/performance/generation.csv."""
    base = load_base_model("smollm2-135m", device="cpu", dtype="float32")
    encoder = Collator.of(base, 256)
    items, _ = encoder.items(load_task("passages", {}).splits["test"][:PROMPTS])
    prompts = [item.rows[0].answer[:LENGTH] for item in items]
    rows = []
    for method in METHODS:
        with tempfile.TemporaryDirectory() as folder:
            config = pl.RunConfig(method=method, task="nq_open", base_model="smollm2-135m",
                                  device="cpu", dtype="float32",
                                  training={"max_steps": 1, "batch_size": 1})  # fmt: skip
            with open_run(pl.train(config, folder), base) as model:
                texts: dict[str, list[str]] = {}

                def at_once(model=model, texts=texts) -> None:
                    found = generate(model, encoder, prompts, max_new_tokens=TOKENS)
                    texts["at_once"] = [one.text for one in found]

                def one_by_one(model=model, texts=texts) -> None:
                    found = [generate(model, encoder, [one], max_new_tokens=TOKENS)[0]
                             for one in prompts]  # fmt: skip
                    texts["one_by_one"] = [one.text for one in found]

                ways = {way.__name__: lambda w=way: seconds(w) for way in (at_once, one_by_one)}
                took = {k: statistics.median(v) for k, v in in_turn(ways, REPEATS).items()}
        same = sum(a == b for a, b in zip(*texts.values(), strict=True))
        rows.append({"method": method, "batch": ROWS, "prompts": PROMPTS, "tokens": TOKENS,
                     "seconds_one_by_one": round(took["one_by_one"], 2),
                     "seconds": round(took["at_once"], 2),
                     "ratio": round(took["one_by_one"] / took["at_once"], 2),
                     "same_texts": same})  # fmt: skip
    write(__file__, rows)


if __name__ == "__main__":
    main()
