"""Examples of a task as a base reads them, with the tokens that are trained."""

from dataclasses import dataclass
from typing import Any

from peftlens.data.collate import Collator
from peftlens.data.tokenization import TokenizedAnswer
from peftlens.io.escaping import visible
from peftlens.models.base_model import load_base_model
from peftlens.tasks import load_task

MARKS = ("⟦", "⟧")


@dataclass(frozen=True)
class ShownExample:
    """One training example.

    Attributes:
        text: its text, with what is trained between marks.
        n_tokens: number of its tokens.
        n_trained: number of the trained ones.
    """

    text: str
    n_tokens: int
    n_trained: int


def trained_examples(
    name: str, options: dict[str, Any], base_name: str, count: int, trust_remote_code: bool
) -> list[ShownExample]:
    """Tokenize the first training examples of a task.

    Args:
        name: name of the task.
        options: options of the task.
        base_name: base model.
        count: number of examples.
        trust_remote_code: whether Python code of the base model may run.
    """
    task = load_task(name, options)
    base = load_base_model(base_name, trust_remote_code=trust_remote_code)
    items, _ = Collator.of(base, 2**20).items(task.splits["train"][:count])
    return [_shown(base.tokenizer, item.rows[item.correct]) for item in items]


def _shown(tokenizer: Any, row: TokenizedAnswer) -> ShownExample:
    first = len(row.prompt)
    trained = {first + at for at in row.scored_places}
    ids, parts = [*row.prompt, *row.answer], []
    at = 0
    while at < len(ids):
        inside = at in trained
        end = next((n for n in range(at, len(ids)) if (n in trained) != inside), len(ids))
        text = visible(tokenizer.decode(ids[at:end]))
        parts.append(f"{MARKS[0]}{text}{MARKS[1]}" if inside else text)
        at = end
    return ShownExample("".join(parts), len(ids), len(trained))
