"""What a soft prompt or prefix makes the base predict, for the trained one and for others like it.

A soft prompt's vectors precede the input's embeddings, and those of any prompt can take their
place. A prefix is the keys and values of each layer.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from peftlens import registry
from peftlens.adapters.checkpoint import open_run
from peftlens.data.collate import Collator
from peftlens.data.task import Example
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.diffing.hidden_states import require_decoder_only
from peftlens.evaluation.log_likelihood import answer_logits
from peftlens.evaluation.retention import MAX_LENGTH
from peftlens.layers.prepend import behind_vectors
from peftlens.models.base_model import BaseModel
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.vocab.trained_vectors import at_step, before_training, trained_vectors


@dataclass(frozen=True)
class PromptStates:
    """A trained soft prompt or prefix, in float32.

    Attributes:
        now: states at the end of training, shape (n, parts, d): a prompt of n vectors has one part,
            a prefix the keys and the values of each layer.
        start: states before training, of this shape; None if unknown.
        is_prefix: whether it is a prefix.
    """

    now: torch.Tensor
    start: torch.Tensor | None
    is_prefix: bool

    @classmethod
    def of(cls, run: TrainedModel, base: BaseModel) -> "PromptStates":
        """Read a run's prompt or prefix.

        Raises:
            NotApplicable: it has neither, the base is an encoder-decoder, or a network computes the
                prefix.
        """
        require_decoder_only(base)
        exposed = registry.exposed(run.config.method, run.config.method_config)
        if "soft_prompt" in exposed:
            vectors = trained_vectors(run, base, run.steps[-1])
            start = None if vectors.start is None else vectors.start[:, None]
            return cls(vectors.now[:, None], start, False)
        if "prefix" not in exposed:
            raise NotApplicable(f"{run.config.method} has no soft prompt and no prefix")
        now, start = at_step(run, base, run.steps[-1], _prefix), before_training(run, base, _prefix)
        return cls(now, start, True)

    def displaced(self, rng: torch.Generator) -> torch.Tensor:
        """Move the start as far as training did, each vector in a random direction: (n, parts, d).

        Where the start is unknown: random vectors of the trained ones' lengths.
        """
        start = torch.zeros_like(self.now) if self.start is None else self.start
        noise = torch.randn(self.now.shape, generator=rng).to(self.now)
        length = (self.now - start).norm(dim=-1, keepdim=True)  # (n, parts, 1)
        return start + length * torch.nn.functional.normalize(noise, dim=-1)


def _prefix(model: Any) -> torch.Tensor:
    """Return a prefix, shape (n, 2 layers, d)."""
    weight = _weight(model)  # (n, 2 layers d)
    return weight.view(len(weight), 2 * model.active_peft_config.num_layers, -1)


def _weight(model: Any) -> torch.Tensor:
    encoder = model.prompt_encoder["default"]
    if getattr(encoder, "prefix_projection", False):
        raise NotApplicable("a network computes its prefix")
    return encoder.embedding.weight


def frame_rows(base: BaseModel, frames: Sequence[str]) -> list[TokenizedAnswer]:
    """Tokenize texts, behind each of which one token is predicted."""
    collator = Collator.of(base, MAX_LENGTH)
    items = collator.items([Example(frame, (" a",)) for frame in frames])[0]
    return [TokenizedAnswer(item.rows[0].prompt, item.rows[0].answer[:1]) for item in items]


@torch.inference_mode()
def prompted_logs(
    run: TrainedModel,
    base: BaseModel,
    rows: Sequence[TokenizedAnswer],
    states: Iterable[torch.Tensor],
    *,
    as_prefix: bool = False,
) -> Iterator[torch.Tensor]:
    """Yield the log-probabilities of the token behind each row, for one prompt after another.

    Args:
        run: the run whose prefix the states replace; unused for prompts.
        base: the run's base model, with nothing attached.
        rows: texts behind the prompt; see `frame_rows`.
        states: prompts or prefixes, each of shape (n, parts, d); a prompt may have no vector.
        as_prefix: whether they are prefixes.

    Yields:
        Log-probabilities in float32, shape (rows, V).
    """
    batch = Collator.of(base, MAX_LENGTH).batch(rows)
    if as_prefix:
        with open_run(run, base) as model:
            for one in states:
                _weight(model).copy_(one.flatten(1))
                yield answer_logits(model, batch).log_softmax(dim=-1)
        return
    for one in states:
        with behind_vectors(base.model, one[:, 0]):  # (n, d)
            logs = answer_logits(base.model, batch).log_softmax(dim=-1)
        yield logs


def embedded(base: BaseModel, ids: Sequence[int]) -> torch.Tensor:
    """Return tokens' embeddings as the model reads them, shape (n, 1, d)."""
    embed: Any = base.model.get_input_embeddings()
    with torch.inference_mode():
        return embed(torch.tensor([*ids], dtype=torch.long, device=base.device))[:, None].float()
