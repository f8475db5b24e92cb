"""A soft prompt or prefix as a mixture of texts: which prompts in words predict what it predicts?

For inputs of the task, the distribution of the next token behind the trained prompt is approximated
by a mixture of those behind some dozens of texts: instructions, labels and typical words of its own
and of other tasks, and no prompt at all. Non-negative weights that sum to 1 minimize the KL; they
are fitted on one half of the inputs. On the other half, the share of KL explained is
1 − KL(prompted || mixture) / KL(prompted || base). Its null are prompts that moved from the same
start as far, each vector in a random direction. The power is the share found of prompts that are
words of the task in a random order. Distributions are compared on the most probable tokens of base
and prompted model, all others being one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer, text_ids
from peftlens.diffing.hard_prompts import HardPrompt, hard_prompts
from peftlens.diffing.prompt_states import PromptStates, embedded, prompted_logs
from peftlens.errors import require
from peftlens.models.base_model import BaseModel
from peftlens.numerics.mixture import mean_kl, mixed, mixture_weights
from peftlens.numerics.resampling import p_value
from peftlens.results.table import Chart, Column, NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of

REQUIRES = frozenset({"token_vectors"})
VERSION = 1
OPTIONAL = True  # meant for single runs
LEVEL = 0.05
_LENGTH = 64  # tokens of an input
_TOKENS = 1000  # tokens that are compared one by one
_LEAST = 0.01  # weight of a text that is listed


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of the probe.

    Attributes:
        items: number of inputs, of which every second is held out.
        draws: number of random prompts.
        planted: number of planted prompts.
    """

    items: int = 24
    draws: int = 19
    planted: int = 5


COLUMNS = (
    Column("part", "what the row is: the whole mixture, or one of its texts"),
    Column("verdict", "whether the texts explain more than of random prompts, with the power"),
    Column("explained", "share of KL explained on held-out inputs", "1", "higher"),
    Column("p", "p of this share against random prompts", "1"),
    Column("explained_random", "median share explained of random prompts", "1"),
    Column("explained_fit", "share of KL explained on the inputs of the fit", "1"),
    Column("base_kl", "KL(prompted || base) per held-out input", "nats"),
    Column("base_kl_random", "median of this KL over random prompts", "nats"),
    Column("mixture_kl", "KL(prompted || mixture) per held-out input", "nats"),
    Column("own_weight", "weight of all texts of the own task", "1"),
    Column("power", "share of planted prompts found", "1"),
    Column("text", "text in front of the input; empty for none"),
    Column("kind", "kind of text: none, instruction, label or word"),
    Column("task", "task of the text"),
    Column("weight", "weight of the text in the mixture", "1"),
    Column("covered", "probability that the compared tokens have behind the prompt", "1"),
    Column("n_texts", "number of texts in the dictionary"),
    Column("n_items", "number of held-out inputs"),
    Column("draws", "number of random prompts"),
)
CHARTS = (
    Chart("points", x="configuration", y="explained", title="KL explained by prompts in words"),
)


def measure(context: RunContext, run: TrainedModel, config: Config) -> pd.DataFrame:
    """Return a row for the whole mixture, and one for each text with a weight of at least 0.01."""
    require("items", config.items, 4)
    require("draws", config.draws, 19)
    require("planted", config.planted, 1)
    base = context.base_model(run)
    base.require_text()  # texts and prompts are compared by the tokens that are predicted behind
    states = PromptStates.of(run, base)
    texts = hard_prompts(task_of(run), base)
    inputs = _Inputs.of(run, base, states, texts, config.items)
    rng = torch.Generator().manual_seed(run.config.seed)
    random = (states.displaced(rng) for _ in range(config.draws))
    null = [_Fit.of(one, inputs) for one in inputs.behind(random, states.is_prefix)]
    shares = [one.explained for one in null]
    own = [one for one in texts if one.task == task_of(run).name]
    if not own:
        raise NotApplicable("no text states the task")
    planted = _planted(base, own, len(states.now), config.planted, rng)
    found = [p_value(_Fit.of(one, inputs).explained, shares) for one in inputs.behind(planted)]
    power = float((np.array(found) <= LEVEL).mean())
    fit = _Fit.of(inputs.trained, inputs)
    p = p_value(fit.explained, shares)
    weights = [*zip(texts, fit.weights.tolist(), strict=True)]
    whole = {
        "part": "mixture",
        "verdict": _verdict(p, power),
        "p": p,
        "explained_random": float(np.median(shares)),
        "base_kl_random": float(np.median([one.base_kl for one in null])),
        "own_weight": sum(weight for one, weight in weights if one in own),
        "power": power,
        "draws": config.draws,
    }
    return _table(whole | _cells(fit, inputs), weights)


def _cells(fit: "_Fit", inputs: "_Inputs") -> dict[str, Any]:
    return {
        "explained": fit.explained,
        "explained_fit": fit.explained_fit,
        "base_kl": fit.base_kl,
        "mixture_kl": fit.mixture_kl,
        "covered": float(inputs.trained[:, :-1].sum(axis=1).mean()),
        "n_texts": len(inputs.texts),
        "n_items": len(inputs.trained[1::2]),
    }


def _table(whole: dict[str, Any], weights: list[tuple[HardPrompt, float]]) -> pd.DataFrame:
    """Add a row for each text of enough weight, the heaviest first."""
    listed = [
        {"part": "text", **vars(text), "weight": weight}
        for text, weight in sorted(weights, key=lambda one: -one[1])
        if weight >= _LEAST
    ]
    frame = pd.DataFrame([whole, *listed], columns=[column.name for column in COLUMNS])
    return frame.astype(dict.fromkeys(("n_texts", "n_items", "draws"), "Int64"))


def _verdict(p: float, power: float) -> str:
    if p <= LEVEL:
        return "explained by texts"
    return f"explained no better than random prompts (power {power:.2f})"


@dataclass(frozen=True)
class _Inputs:
    """Distributions of the token behind n inputs, over v tokens, the last of which is all others.

    Attributes:
        run: the run.
        base: its base model.
        rows: the inputs as token ids.
        tokens: ids of the compared tokens, shape (n, v − 1).
        trained: behind the trained prompt, shape (n, v).
        texts: behind each text of the dictionary, the first of which is empty, shape (K, n, v).
    """

    run: TrainedModel
    base: BaseModel
    rows: Sequence[TokenizedAnswer]
    tokens: torch.Tensor
    trained: NDArray[np.float64]
    texts: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        run: TrainedModel,
        base: BaseModel,
        states: PromptStates,
        texts: Sequence[HardPrompt],
        items: int,
    ) -> "_Inputs":
        rows = _input_rows(run, base, items)
        nothing = embedded(base, [])
        (alone,) = prompted_logs(run, base, rows, [nothing])
        (prompted,) = prompted_logs(run, base, rows, [states.now], as_prefix=states.is_prefix)
        both = torch.maximum(alone, prompted)  # (n, V)
        tokens = both.topk(min(_TOKENS, both.shape[-1] - 1), dim=-1).indices
        ids = (text_ids(base.tokenizer, one.text) if one.text else [] for one in texts)
        behind = prompted_logs(run, base, rows, (embedded(base, one) for one in ids))
        dictionary = np.stack([_coarse(logs, tokens) for logs in behind])
        return cls(run, base, rows, tokens, _coarse(prompted, tokens), dictionary)

    def behind(
        self, states: Iterable[torch.Tensor], as_prefix: bool = False
    ) -> Iterator[NDArray[np.float64]]:
        """Yield the distributions behind other prompts, each of shape (n, v)."""
        found = prompted_logs(self.run, self.base, self.rows, states, as_prefix=as_prefix)
        return (_coarse(logs, self.tokens) for logs in found)


@dataclass(frozen=True)
class _Fit:
    """Mixture of the dictionary's texts for one prompt.

    Attributes:
        weights: weight of each text, shape (K,).
        base_kl: KL(prompted || base) on held-out inputs, nats.
        mixture_kl: KL(prompted || mixture) on held-out inputs, nats.
        explained_fit: share of KL explained on the inputs of the fit.
    """

    weights: NDArray[np.float64]
    base_kl: float
    mixture_kl: float
    explained_fit: float

    @property
    def explained(self) -> float:
        return _share(self.mixture_kl, self.base_kl)

    @classmethod
    def of(cls, prompted: NDArray[np.float64], inputs: _Inputs) -> "_Fit":
        fitted, held_out = slice(0, None, 2), slice(1, None, 2)
        weights = mixture_weights(prompted[fitted], inputs.texts[:, fitted])
        kl = [
            (mean_kl(prompted[part], inputs.texts[0, part]),
             mean_kl(prompted[part], mixed(weights, inputs.texts[:, part])))
            for part in (held_out, fitted)
        ]  # fmt: skip
        return cls(weights, *kl[0], _share(kl[1][1], kl[1][0]))


def _share(kl: float, of_base: float) -> float:
    """1 − KL / KL of the base; 0 where the prompt has no effect."""
    return 1 - kl / of_base if of_base > 1e-9 else 0.0


def _input_rows(run: TrainedModel, base: BaseModel, items: int) -> list[TokenizedAnswer]:
    """Tokenize test prompts, whose beginnings are cut, with one predicted token.

    Raises:
        NotApplicable: fewer than four examples have a prompt.
    """
    examples = [one for one in task_of(run).splits["test"] if one.prompt][:items]
    rows = [item.rows[0] for item in Collator.of(base, _LENGTH).items(examples)[0]]
    if len(rows) < 4:
        raise NotApplicable("fewer than four test examples have a prompt")
    return [TokenizedAnswer(row.prompt, row.answer[:1]) for row in rows]


def _coarse(logs: torch.Tensor, tokens: torch.Tensor) -> NDArray[np.float64]:
    """Reduce log-probabilities (n, V) to tokens (n, v − 1) and the sum of all others: (n, v)."""
    chosen = logs.gather(1, tokens).double().exp()
    rest = (1 - chosen.sum(dim=1, keepdim=True)).clamp(min=1e-12)
    return torch.cat([chosen, rest], dim=1).cpu().numpy()


def _planted(
    base: BaseModel, texts: Sequence[HardPrompt], n: int, count: int, rng: torch.Generator
) -> Iterator[torch.Tensor]:
    """Yield prompts of n tokens: texts in a random order."""
    for _ in range(count):
        ids: list[int] = []
        while len(ids) < n:
            ids += text_ids(
                base.tokenizer, texts[int(torch.randint(len(texts), (), generator=rng))].text
            )
        yield embedded(base, ids[:n])
