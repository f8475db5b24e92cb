"""Pseudo-log-likelihood: how well an encoder predicts the tokens of a text, one masked at a time.

An encoder predicts no next token. The pseudo-log-likelihood (Salazar et al. 2020, arXiv:1910.14659,
section 2.2) is the sum over a text's tokens of the log-probability of each, given all others. The
other tokens of a word give a masked one away, so the later tokens of the same word are masked with
it (Kauf & Ivanova 2023, arXiv:2305.10588, section 3, "PLL-word-l2r").

Every token takes a forward pass. Of each text 16 tokens are drawn, the same for every model: their
mean estimates the text's without bias, and tokens of other texts say more than further ones of the
same text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from peftlens.data.collate import Collator, scoring_batches
from peftlens.data.head_tokenization import HeadTokenizer, LabeledRow
from peftlens.data.task import Task
from peftlens.errors import InputError
from peftlens.evaluation.harness_suite import PREFIX
from peftlens.evaluation.model_divergence import kl_of_logits
from peftlens.evaluation.token_chunks import token_loss
from peftlens.io.files import sha256_text
from peftlens.io.progress import track
from peftlens.models.base_model import BaseModel
from peftlens.models.masked_lm import MaskedLM, masked_lm, recorded_states
from peftlens.results.table import NotApplicable
from peftlens.tasks import load_task

MASKED = 16  # tokens of a text that are scored
KIND = "masked tokens"
_CHUNK = 256  # tokens whose logits over the vocabulary are computed together


@dataclass(frozen=True)
class MaskedSuite:
    """Texts with masked tokens, for scoring base and tuned encoders.

    Attributes:
        name: name of the task, and that its tokens are masked.
        rows: for each text a row for each masked token: the text with the mask, the token's
            position and id.
        sha256: hash of the data and of how they are masked.
        head: the base's head that predicts masked tokens.
    """

    name: str
    rows: tuple[tuple[LabeledRow, ...], ...]
    sha256: str
    head: MaskedLM

    @property
    def texts(self) -> bool:
        """Whether the suite consists of texts: always."""
        return True

    @property
    def lengths(self) -> list[int]:
        """Number of masked tokens of each text."""
        return [len(rows) for rows in self.rows]

    def states(self, model: nn.Module, base: BaseModel, max_length: int) -> torch.Tensor:
        """Compute the last hidden state at every masked token, shape (t, d).

        Args:
            model: the base's model, or a tuned one attached to it.
            base: the base model.
            max_length: maximum number of tokens of a text.
        """
        collator = Collator.of_states(base, max_length)
        rows = [row for of_text in self.rows for row in of_text]
        found: list[Any] = [None] * len(rows)
        batches = list(scoring_batches(rows, collator.at_once))
        with torch.inference_mode():
            for indices in track(batches, f"Scoring {self.name}"):
                batch = collator.batch([rows[index] for index in indices])
                with recorded_states(base) as states:
                    model(**batch.inputs)
                (last,) = states  # (batch, virtual + seq, d)
                masked = last[:, -batch.scored.shape[1] :][batch.scored]  # (batch, d)
                for index, state in zip(indices, masked, strict=True):
                    found[index] = state
        return torch.stack(found)

    def loss(self, states: torch.Tensor) -> torch.Tensor:
        """Compute the loss of every masked token from its state (t, d): nats, shape (t,)."""
        ids = [row.targets[0] for of_text in self.rows for row in of_text]
        targets = torch.tensor(ids, device=states.device)
        parts = zip(states.split(_CHUNK), targets.split(_CHUNK), strict=True)
        return torch.cat([token_loss(self.head.logits(part), right) for part, right in parts])

    def divergence(self, before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
        """Compute KL(base || tuned) of every masked token from both states (t, d): nats, (t,)."""
        parts = zip(before.split(_CHUNK), after.split(_CHUNK), strict=True)
        return torch.cat([kl_of_logits(*map(self.head.logits, pair)) for pair in parts])


def masked_suites(
    base: BaseModel, names: Sequence[str], options: Mapping[str, dict[str, Any]], max_length: int
) -> list[MaskedSuite]:
    """Mask tokens of the test texts of tasks; tasks of other kinds are left out.

    Args:
        base: encoder with the tokenizer.
        names: names of tasks.
        options: options of the tasks by name.
        max_length: maximum number of tokens of a text.

    Raises:
        InputError: no token of a task can be masked.
        NotApplicable: the base has no head that predicts masked tokens, its tokenizer has no mask
            or can't tell words, or no task has texts.
    """
    head = masked_lm(base)
    if head is None:
        raise NotApplicable(
            f"base {base.reference!r} is an encoder whose file has no head for masked tokens, so "
            "its loss on text is not defined; measure linear_probes"
        )
    tokenizer = _tokenizer(base, max_length)
    tasks = {n: load_task(n, options.get(n, {})) for n in names if not n.startswith(PREFIX)}
    texts = {name: task for name, task in tasks.items() if task.kind == "language_modeling"}
    if not texts:
        raise NotApplicable(
            f"of an encoder only texts are scored, and {', '.join(names)} have none; give suites "
            "of texts, such as passages_short"
        )
    return [_masked_suite(head, tokenizer, *one) for one in texts.items()]


def _masked_suite(head: MaskedLM, tokenizer: HeadTokenizer, name: str, task: Task) -> MaskedSuite:
    texts = [one.prompt + one.answers[one.correct] for one in task.splits["test"]]
    masked = (_masked(tokenizer, text, place) for place, text in enumerate(texts))
    rows = tuple(rows for rows in masked if rows)
    if not rows:
        raise InputError(f"retention suite {name!r} has no text with a token that can be masked")
    return MaskedSuite(f"{name}, {KIND}", rows, sha256_text(f"{task.sha256} {MASKED} masked"), head)


def _tokenizer(base: BaseModel, max_length: int) -> HeadTokenizer:
    """Return the tokenizer of whole texts, which says where words are."""
    found = Collator.of_states(base, max_length).example_tokenizer
    assert isinstance(found, HeadTokenizer)  # the collator of an encoder
    if found.tokenizer.mask_token_id is None:
        raise NotApplicable(
            f"base {base.reference!r}: its tokenizer has no mask token, which its head for masked "
            "tokens was trained with; set mask_token in tokenizer_config.json"
        )
    if not found.tokenizer.is_fast:
        raise NotApplicable(
            f"base {base.reference!r}: masking the tokens of a word needs a fast tokenizer, which "
            "says which tokens a word has; save it as tokenizer.json"
        )
    return found


def _masked(tokenizer: HeadTokenizer, text: str, seed: int) -> tuple[LabeledRow, ...]:
    """Return a row for each of a text's drawn tokens, in their order in the text."""
    row, words = tokenizer.text_and_words(text)
    of_words = np.flatnonzero([word is not None for word in words])
    rng = np.random.default_rng(seed)
    drawn = rng.choice(of_words, min(MASKED, len(of_words)), replace=False)
    mask = tokenizer.tokenizer.mask_token_id
    return tuple(
        LabeledRow(
            tuple(
                mask if place >= at and words[place] == words[at] else token
                for place, token in enumerate(row.prompt)
            ),
            (),
            labels=(row.prompt[at],),
            places=(at,),
            types=row.types,
        )
        for at in sorted(map(int, drawn))
    )
