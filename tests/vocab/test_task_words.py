import planted
import pytest

from peftlens.data.task import Example, SentencePair, build
from peftlens.models.base_model import load_base_model
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


def of_words(name, *words):
    """A task of pairs of texts, which have these words and numbers."""
    return build(name, "classification", [
        SentencePair(f"{n}", (" up", " down"), n % 2, second=words[n % len(words)])
        for n in range(40)
    ])  # fmt: skip


def test_words_of_word_pieces_are_whole_ones(word_pieces, monkeypatch):
    base = load_base_model(str(word_pieces), device="cpu", dtype="float32")
    own = of_words("own", "good", "bad", "fine", "poor", "Great", "walking", "unused")
    others = [
        of_words("one", "awful", "kind", "mean", "calm", "rude"),
        of_words("two", "walk", "talk", "play", "the", "sport"),
    ]
    monkeypatch.setattr(task_words, "other_tasks", lambda _: others)
    found = {
        name: {tuple(base.tokenizer.convert_ids_to_tokens(list(ids))) for ids in words}
        for name, words in task_words.task_words(own, base).items()
    }
    labels = {("up",), ("down",)}
    # walking and unused are several pieces; no word stands for two tasks
    assert found["own"] == labels | {("good",), ("bad",), ("fine",), ("poor",), ("great",)}
    assert found["one"] == {("awful",), ("kind",), ("mean",), ("calm",), ("rude",)}
    assert found["two"] == {("walk",), ("talk",), ("play",), ("the",), ("sport",)}
