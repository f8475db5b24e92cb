import planted
import pytest

from peftlens.data.task import Example, build
from peftlens.tasks import task_of
from peftlens.vocab import task_words


@pytest.mark.usefixtures("other_tasks")
def test_the_sets_are_the_tasks_words(planted_run, context):
    base = context.base_model(planted_run)
    found = task_words.task_words(task_of(planted_run), base)
    own, *others = found.values()
    text = [base.tokenizer.decode(list(ids)) for ids in own]
    assert sorted(text[:2]) == sorted(planted.group(side)[0] for side in (0, 1))
    assert {*text[2:]} <= {*planted.group(0)[2:], *planted.group(1)[2:]} | {
        planted.word(400 + 20 * side + number) for side in (0, 1) for number in range(5)
    }
    assert len(text) > 15
    first = [base.tokenizer.decode(list(ids)) for ids in others[0]]
    assert {*planted.group(20)} <= {*first}
    assert not {*text} & {*first}


def test_words_of_the_template_are_not_typical():
    words = ("alpha", "beta", "gamma")
    texts = [f"Text: {words[i % 3]} x{i} Label:" for i in range(30)]
    task = build("t", "classification", [
        Example(text, (" a", " b"), i % 2) for i, text in enumerate(texts)
    ])  # fmt: skip
    assert {*task_words._counts(task)} == {*words}
