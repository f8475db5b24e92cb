"""Written answers to the examples of a task, with their scores."""

from collections.abc import Sequence

from torch import nn

from peftlens.data.collate import Collator
from peftlens.data.task import Chat, Example, OpenQuestion, Task
from peftlens.data.tokenization import TokenizedExample
from peftlens.evaluation.answer_scores import scorer
from peftlens.evaluation.base_texts import base_texts
from peftlens.evaluation.generation import generate
from peftlens.models.base_model import BaseModel


def answer(
    model: nn.Module | BaseModel,
    encoder: Collator,
    task: Task,
    items: Sequence[TokenizedExample],
    split: str = "test",
) -> list[tuple[float, str]]:
    """Let a model answer tokenized examples of a generation task.

    Args:
        model: model with its adapter attached; or a base without any, whose texts are cached.
        encoder: collator of the base.
        task: task whose kind is generation.
        items: examples of the split that were tokenized.
        split: split of the examples.

    Returns:
        Score and text of each answer.
    """
    assert task.answers is not None
    examples = [task.splits[split][item.index] for item in items]
    prompts = [prompt_ids(encoder, one, item) for one, item in zip(examples, items, strict=True)]
    limits = {"max_new_tokens": task.answers.max_new_tokens, "stop": task.answers.stop}
    if isinstance(model, BaseModel):
        texts = base_texts(model, encoder, prompts, **limits)
    else:
        written = generate(model, encoder, prompts, **limits, description="Writing answers")
        texts = [one.text for one in written]
    score = scorer(task.answers.score)
    return [
        (score(text.strip(), references(example)), text.strip())
        for text, example in zip(texts, examples, strict=True)
    ]


def references(example: Example) -> tuple[str, ...]:
    """Return the right answers of an example."""
    own = example.references if isinstance(example, (Chat, OpenQuestion)) else ()
    return own or (example.answers[example.correct].strip(),)


def prompt_ids(encoder: Collator, example: Example, item: TokenizedExample) -> Sequence[int]:
    """Return the token ids after which the answer is written."""
    if isinstance(example, Chat):
        ids = encoder.chat_template(example).prompt(example.messages[:-1], example.tools)
        return ids[-encoder.example_tokenizer.max_length :]
    return item.rows[0].prompt
