"""Write reports/soft_prompts/planted.csv: what the null tests find on SmolLM2-135M's vocabulary.

python analyses/planted_tokens.py

Prompts of 20 vectors start in each of the ways in which `prompt_tuning` does, and move by 1.3 of
their length, as trained ones do: all of them toward a common word each, with a known cosine, or, in
200 prompts of noise, in random directions. Of the planted vectors the share is written that the
tests of `soft_prompt_null` find, of the prompts of noise the share with any finding. A quarter of
an hour on two cores.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from peftlens.data.common_tokens import common_tokens
from peftlens.models.base_model import BaseModel, load_base_model
from peftlens.tasks import load_task
from peftlens.vocab.nearest_neighbors import Metric
from peftlens.vocab.null_tests import Chance, NeighborhoodSpace, p_values
from peftlens.vocab.planted import COSINES, common_words, toward
from peftlens.vocab.verdicts import Verdict, verdicts
from peftlens.vocab.vocabulary import states, vocabulary

OUT = Path(__file__).parent.parent / "reports" / "soft_prompts" / "planted.csv"
LENGTH, MOVED = 20, 1.3  # vectors of a prompt, and their displacement over the start's length
METRICS: tuple[Metric, ...] = ("cosine", "centered")
PLANTED, NOISE, DRAWS = 5, 200, 1000  # prompts of each cosine, prompts of noise, draws of the nulls
FOUND = ("readable", "displacement readable")
TEXT = "Name the topic of this story: business, entertainment, politics, sports or technology. "


def starts(base: BaseModel) -> dict[str, Callable[[np.random.Generator], torch.Tensor]]:
    """Return a function that draws the initial vectors (n, d), for each initialization."""
    table = vocabulary(base).table
    common = np.concatenate([np.arange(*ends) for ends in common_tokens(base.tokenizer)])
    norm = float(table.norm(dim=1).median())
    ids = base.tokenizer(TEXT * 4, add_special_tokens=False)["input_ids"][:LENGTH]
    labels = [base.tokenizer(label, add_special_tokens=False)["input_ids"]
              for label in load_task("bbc_topic", {}).labels]  # fmt: skip

    def drawn(rng: np.random.Generator) -> torch.Tensor:
        return table[torch.from_numpy(rng.choice(common, LENGTH, replace=False))].clone()

    def uniform(rng: np.random.Generator) -> torch.Tensor:
        values = rng.uniform(-1, 1, (LENGTH, table.shape[1])).astype(np.float32)
        return torch.from_numpy(values) * norm * (3 / table.shape[1]) ** 0.5

    def with_labels(rng: np.random.Generator) -> torch.Tensor:
        vectors = drawn(rng)
        vectors[: len(labels)] = torch.stack([table[label].mean(dim=0) for label in labels])
        return vectors

    return {"vocabulary": drawn, "random": uniform, "text": lambda _: table[ids].clone(),
            "labels": with_labels}  # fmt: skip


class Tests:
    """The tests of `soft_prompt_null`, with random steps only where they can decide."""

    def __init__(self, base: BaseModel) -> None:
        """Draw the random directions of both metrics."""
        known, self.rng = vocabulary(base), np.random.default_rng(2)
        self.spaces = {metric: NeighborhoodSpace.of(known.table, known, states(base), metric)
                       for metric in METRICS}  # fmt: skip
        self.nulls = {
            metric: space.tightness(
                Chance.of(space, DRAWS, np.random.default_rng(0)).nulls["random_directions"]
            )
            for metric, space in self.spaces.items()
        }

    def of(self, start: torch.Tensor, now: torch.Tensor, metric: Metric) -> list[Verdict]:
        """Return the verdict on each vector."""
        space = self.spaces[metric]
        around, before = space.around(now), space.around(start)
        kept = space.family[around[:, 0]] == space.family[before[:, 0]]
        p_random = p_values(space.tightness(around), self.nulls[metric])
        p_steps = np.ones(len(now))
        if len(which := np.flatnonzero((p_random <= 0.05) & ~kept)):
            lengths = (now[which] - start[which]).norm(dim=1)
            noise = self.rng.standard_normal((DRAWS, now.shape[1]), dtype=np.float32)
            directions = torch.nn.functional.normalize(torch.from_numpy(noise))
            steps = space.around_steps(start[which], lengths, directions)
            gained = (space.gained(ids, before[which]) for ids in (around[which], steps))
            p_steps[which] = p_values(*gained)
        centered = self.spaces["centered"]
        words = centered.around_displacements(now - start)
        p_displacement = p_values(centered.tightness(words), self.nulls["centered"])
        return verdicts(p_random, p_steps, p_displacement, kept)[0]


def rows(base: BaseModel) -> Iterator[dict[str, object]]:
    """Yield a row for each initialization, metric and cosine, and one for noise."""
    tests, words = Tests(base), common_words(vocabulary(base))
    table = vocabulary(base).table
    mean = table.mean(dim=0)
    for init, draw in starts(base).items():
        for metric in METRICS:
            for cosine in (*COSINES, None):
                rng, found, any_found = np.random.default_rng(1), [], []
                for _ in range(NOISE if cosine is None else PLANTED):
                    start = draw(rng)
                    targets = table[torch.from_numpy(rng.choice(words, LENGTH))] - mean
                    steps = toward(targets, cosine or 0.0, rng)
                    if cosine is None:
                        noise = rng.standard_normal(start.shape, dtype=np.float32)
                        steps = torch.nn.functional.normalize(torch.from_numpy(noise))
                    now = start + MOVED * start.norm(dim=1, keepdim=True) * steps
                    given = [word in FOUND for word in tests.of(start, now, metric)]
                    found += given
                    any_found.append(any(given))
                yield {
                    "init": init,
                    "metric": metric,
                    "cosine": cosine,
                    "vectors": len(found),
                    "vectors_found": np.mean(found),
                    "prompts": len(any_found),
                    "prompts_with_a_finding": np.mean(any_found),
                }


def main() -> None:
    """Write the table."""
    base = load_base_model("smollm2-135m", device="cpu", dtype="float32")
    pd.DataFrame(rows(base)).round(4).to_csv(OUT, index=False)


if __name__ == "__main__":
    main()
