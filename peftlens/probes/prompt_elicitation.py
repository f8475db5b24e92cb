"""What a soft prompt or prefix makes the base say of its task, in frames it was not trained with.

Behind the prompt stands a frame such as "Task:", and the next token is read. The statistic is one
contrast: the rise, from the prompt before training, of the log-probability of the words that state
the task (labels, words of its template), or are typical of its training text, minus the mean rise
of other tasks' words, averaged over the frames. Its null are prompts that moved from the same start
as far, each vector in a random direction; where the start is unknown, random vectors of the same
lengths against the base without a prompt. Agreement of the frames with each other is shown and
decides nothing: any prompt moves them together. The power is the share found of prompts in which
some vectors are embeddings of the task's words; the anchor is a text that states the task.
A prompt has a row for each of the other tasks as well, with the same contrast for the words of that
task: over several runs, prompts of other tasks, or of shuffled labels, are the null of a task's.
Source: after Ramati et al. 2024, arXiv:2410.11660, who let the base write a description of the
prompt from its hidden states.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.data.tokenization import continuation_ids
from peftlens.diffing.elicited_words import Targets, target_words
from peftlens.diffing.prompt_states import PromptStates, embedded, frame_rows, prompted_logs
from peftlens.errors import require
from peftlens.models.base_model import BaseModel
from peftlens.numerics.resampling import benjamini_hochberg, p_value
from peftlens.results.table import Chart, Column
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of
from peftlens.vocab.vocabulary import vocabulary

REQUIRES = frozenset({"token_vectors"})
VERSION = 1
OPTIONAL = True  # meant for single runs
LEVEL = 0.05
FRAMES = (
    "\nTask:",
    "\nThis task is about",
    "\nIn one word, the task:",
    "\nThe text above is about",
    "\nInstruction:",
    "\nThe possible answers are",
)
SHARES = (0.1, 0.25, 0.5, 1.0)  # of a planted prompt's vectors
_SHOWN = 10  # tokens raised most


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        draws: number of random prompts.
        planted: number of planted prompts for each share of planted vectors.
    """

    draws: int = 100
    planted: int = 10


COLUMNS = (
    Column("words", "kind of words: those that state the task, or typical ones"),
    Column("task", "task whose words are meant"),
    Column("own", "true in the rows of the run's own task"),
    Column("verdict", "elicited or not, with the power; of the own task"),
    Column("q", "p corrected over both kinds of words", "1"),
    Column("p", "p of the contrast against random prompts", "1"),
    Column("contrast", "rise of the task's words minus the mean rise of other tasks'", "nats"),
    Column("rise", "mean rise of the log-probability of the task's words", "nats"),
    Column("standardized", "contrast in standard deviations of random prompts' contrasts", "1"),
    Column("task_standardized", "the same in the rows of all tasks, each for its own words", "1"),
    Column("shuffled_labels", "true if the run was trained on shuffled labels, as a control"),
    Column("anchor", "contrast of a text that states the task", "nats"),
    Column("p_frames", "p of the contrast by flipping its sign frame by frame", "1"),
    Column("frames_above_zero", "number of frames with a positive contrast"),
    Column("n_frames", "number of frames"),
    Column("reference", "what the rise is measured from: the prompt's start, or no prompt"),
    Column("raised", "list of the tokens with the largest p log(p / p before) over the frames"),
    Column("read_words", "list of the first tokens of the task's words"),
    Column("draws", "number of random prompts"),
    *(
        Column(
            f"power_at_{share}",
            f"share found of prompts in which a share of {share} of the vectors are words of the "
            "task",
            "1",
        )
        for share in SHARES
    ),
)
CHARTS = (
    Chart(
        "points",
        x="configuration",
        y="standardized",
        title="How much the prompt says of its task",
        each="words",
    ),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return one row per kind of words and task, the own task first."""
    require("draws", config.draws, 19)
    require("planted", config.planted, 1)
    base = context.base_model(run)
    states = PromptStates.of(run, base)
    targets = target_words(task_of(run), base)
    reading = _Reading.of(run, base, states)
    rng = torch.Generator().manual_seed(run.config.seed)
    random = reading.rises(states.displaced(rng) for _ in range(config.draws))
    drawn = [[contrasts(one, words).mean(axis=1) for words in targets.values()] for one in random]
    nulls = [np.array(one) for one in zip(*drawn, strict=True)]  # for each kind (draws, tasks)
    own = [
        _own(reading, words, null[:, 0]) | _power(reading, words, null[:, 0], config, rng)
        for words, null in zip(targets.values(), nulls, strict=True)
    ]
    rows = []
    q_values = benjamini_hochberg([row["p"] for row in own])
    for (kind, words), row, q, null in zip(targets.items(), own, q_values, nulls, strict=True):
        first = row | {"q": q, "verdict": _verdict(row, q)}
        tasks = first, *_others(reading, words)
        for one, contrasted in zip(tasks, null.T, strict=True):
            own_null = {"task_standardized": _standardized(one["contrast"], contrasted)}
            rows.append({"words": kind} | one | own_null)
    frame = pd.DataFrame(rows, columns=[column.name for column in COLUMNS])
    frame = frame.assign(
        draws=config.draws,
        reference=reading.reference,
        shuffled_labels=run.config.training.shuffle_labels,
    )
    return frame.astype({"frames_above_zero": "Int64", "n_frames": "Int64"})


def _verdict(row: Mapping[str, Any], q: float) -> str:
    if q <= LEVEL:
        return "elicited"
    power = row[f"power_at_{SHARES[1]}"]
    return f"not elicited (power {power:.2f} where a quarter of the vectors are its words)"


@dataclass(frozen=True)
class _Reading:
    """Log-probabilities of the token behind each frame.

    Attributes:
        run: the run.
        base: its base model.
        states: its prompt or prefix.
        before: log-probabilities without the training, shape (frames, V).
        trained: their rise by the trained prompt, shape (frames, V).
    """

    run: TrainedModel
    base: BaseModel
    states: PromptStates
    before: NDArray[np.float32]
    trained: NDArray[np.float32]

    @property
    def reference(self) -> str:
        return "no prompt" if self.states.start is None else "start"

    @classmethod
    def of(cls, run: TrainedModel, base: BaseModel, states: PromptStates) -> "_Reading":
        rows = frame_rows(base, FRAMES)
        if states.start is None:
            nothing = embedded(base, [])
            (before,) = prompted_logs(run, base, rows, [nothing])
            (now,) = prompted_logs(run, base, rows, [states.now], as_prefix=states.is_prefix)
        else:
            both = [states.start, states.now]
            before, now = prompted_logs(run, base, rows, both, as_prefix=states.is_prefix)
        return cls(run, base, states, before.cpu().numpy(), (now - before).cpu().numpy())

    def rises(self, states: Any, *, as_tokens: bool = False) -> Iterator[NDArray[np.float32]]:
        """Yield the rises (frames, V) by other prompts: states like the run's, or embeddings."""
        rows = frame_rows(self.base, FRAMES)
        prefix = self.states.is_prefix and not as_tokens
        for logs in prompted_logs(self.run, self.base, rows, states, as_prefix=prefix):
            yield logs.cpu().numpy() - self.before


def contrasts(rise: NDArray[np.float32], words: Targets) -> NDArray[np.float64]:
    """Subtract from the mean rise of each task's words the mean of those of the other tasks.

    Args:
        rise: rise of every token's log-probability in each frame, shape (frames, V).
        words: tokens of each task, the own one first.

    Returns:
        Nats, shape (tasks, frames).
    """
    by_task = np.stack([rise[:, list(ids)].mean(axis=1, dtype=float) for ids in words.values()])
    others = (by_task.sum(axis=0) - by_task) / (len(by_task) - 1)
    return by_task - others


def contrast(rise: NDArray[np.float32], words: Targets) -> NDArray[np.float64]:
    """Return the own task's row of `contrasts`, shape (frames,)."""
    return contrasts(rise, words)[0]


def _standardized(value: float, null: NDArray[np.float64]) -> float:
    spread = float(null.std())
    return (value - float(null.mean())) / spread if spread else 0.0


def sign_flip_p(differences: NDArray[np.float64]) -> float:
    """One-sided p of a mean of n paired differences against all 2^n flips of their signs."""
    flips = np.array([*product((1, -1), repeat=len(differences))]) @ differences
    return float((flips >= differences.sum() - 1e-9).mean())


def _own(reading: _Reading, words: Targets, null: NDArray[np.float64]) -> dict[str, Any]:
    by_frame = contrast(reading.trained, words)
    found = float(by_frame.mean())
    names, usable = vocabulary(reading.base).tokens, vocabulary(reading.base).usable
    gain = (np.exp(reading.before + reading.trained) * reading.trained).mean(axis=0)  # (V,)
    raised = usable[np.argsort(-gain[usable], kind="stable")[:_SHOWN]]
    (anchor,) = reading.rises([_anchor(reading.base, words)], as_tokens=True)
    task, ids = next(iter(words.items()))
    return {
        "task": task,
        "own": True,
        "p": p_value(found, null),
        "contrast": found,
        "rise": float(reading.trained[:, list(ids)].mean()),
        "standardized": _standardized(found, null),
        "anchor": float(contrast(anchor, words).mean()),
        "p_frames": sign_flip_p(by_frame),
        "frames_above_zero": int((by_frame > 0).sum()),
        "n_frames": len(by_frame),
        "raised": [names[token] for token in raised],
        "read_words": [names[token] for token in ids],
    }


def _others(reading: _Reading, words: Targets) -> Iterator[dict[str, Any]]:
    names = vocabulary(reading.base).tokens
    found = contrasts(reading.trained, words).mean(axis=1)  # (tasks,)
    for value, (task, ids) in [*zip(found, words.items(), strict=True)][1:]:
        yield {
            "task": task,
            "own": False,
            "contrast": float(value),
            "rise": float(reading.trained[:, list(ids)].mean()),
            "read_words": [names[token] for token in ids],
        }


def _anchor(base: BaseModel, words: Targets) -> torch.Tensor:
    """Embed a text that states the task by its words: (tokens, 1, d)."""
    ids = continuation_ids(base.tokenizer, "The task is about the words")
    return embedded(base, [*ids, *next(iter(words.values()))])


def _power(
    reading: _Reading,
    words: Targets,
    null: NDArray[np.float64],
    config: Config,
    rng: torch.Generator,
) -> dict[str, float]:
    """Plant words of the task in prompts, and return the share found for each share of vectors."""
    ids = torch.tensor(next(iter(words.values())))
    n = len(reading.states.now)
    common = torch.tensor(vocabulary(reading.base).usable)

    def planted(share: float) -> torch.Tensor:
        """Put words in the place of some vectors of a random prompt, or of random tokens."""
        if reading.states.is_prefix:
            chosen = common[torch.randint(len(common), (n,), generator=rng)]
            prompt = embedded(reading.base, chosen.tolist())
        else:
            prompt = reading.states.displaced(rng)
        k = max(1, round(share * n))
        places = torch.randperm(n, generator=rng)[:k]
        drawn = ids[torch.randint(len(ids), (k,), generator=rng)]
        prompt[places] = embedded(reading.base, drawn.tolist()).to(prompt)
        return prompt

    found = {}
    for share in SHARES:
        rises = reading.rises((planted(share) for _ in range(config.planted)), as_tokens=True)
        p = [p_value(float(contrast(one, words).mean()), null) for one in rises]
        found[f"power_at_{share}"] = float((np.array(p) <= LEVEL).mean())
    return found
