"""Texts of a run's model beside those of its base, after the same prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

from peftlens.adapters.run_context import RunContext
from peftlens.data.collate import Collator
from peftlens.data.task import Chat, ChatPair
from peftlens.data.tokenization import text_ids
from peftlens.errors import InputError
from peftlens.evaluation.base_texts import base_texts
from peftlens.evaluation.generation import generate
from peftlens.models.base_model import BaseModel
from peftlens.results.table import NotApplicable
from peftlens.runs.trained_model import TrainedModel
from peftlens.tasks import task_of


@dataclass(frozen=True)
class Pair:
    """Two texts after one prompt.

    Attributes:
        base: text of the untrained base.
        tuned: text of the run's model.
    """

    base: str
    tuned: str

    @property
    def differs_at(self) -> int | None:
        """Index of the first character in which they differ; None if they are equal."""
        if self.base == self.tuned:
            return None
        both = zip(self.base, self.tuned, strict=False)
        shorter = min(len(self.base), len(self.tuned))
        return next((at for at, (one, other) in enumerate(both) if one != other), shorter)


def side_by_side(  # noqa: PLR0913  # each is a caller's choice
    context: RunContext,
    run: TrainedModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop: Sequence[str] = (),
    step: int | None = None,
) -> list[Pair]:
    """Let the base and the run's model continue the same prompts greedily.

    Args:
        context: source of the base model.
        run: finished run.
        prompts: token ids of each prompt.
        max_new_tokens: largest number of generated tokens.
        stop: strings that end a text.
        step: step of a checkpoint; None for the end.
    """
    base = context.base_model(run)
    encoder = Collator.of(base, run.config.training.sequence_length)

    before = base_texts(base, encoder, prompts, max_new_tokens=max_new_tokens, stop=stop)
    if run.is_base:
        return [Pair(text, text) for text in before]
    with context.open_run(run, step) as model:
        after = generate(
            model.eval(), encoder, prompts,
            max_new_tokens=max_new_tokens, stop=stop, description="The run's model writes",
        )  # fmt: skip
    return [Pair(one, other.text) for one, other in zip(before, after, strict=True)]


def prompts_of(run: TrainedModel, base: BaseModel, texts: Sequence[str]) -> list[list[int]]:
    """Tokenize texts as the run's task does: as a user's message if it was trained on chats.

    Raises:
        InputError: a text has no tokens.
    """
    encoder = Collator.of(base, run.config.training.sequence_length)
    chat = _chat_of(run)
    rows = []
    for text in texts:
        if not text_ids(base.tokenizer, text):
            raise InputError(f"the text {text!r} has no tokens")
        if chat:
            message = {"role": "user", "content": text}
            rows.append(encoder.chat_template(chat).prompt([message]))
        else:
            # an encoder reads the end token behind a text, a decoder must not
            special = text_ids(base.tokenizer, text, special=True)
            ends = base.tokenizer.eos_token_id
            cut = not encoder.seq2seq and len(special) > 1 and special[-1] == ends
            rows.append(special[:-1] if cut else special)
    return rows


def _chat_of(run: TrainedModel) -> Chat | ChatPair | None:
    """Return a conversation of the run's task, if it has some and is known."""
    try:
        example = task_of(run).splits["train"][0]
    except NotApplicable:
        return None
    return example if isinstance(example, (Chat, ChatPair)) else None
