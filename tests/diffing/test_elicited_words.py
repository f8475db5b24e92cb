import pytest

from peftlens.data.task import Example, Task
from peftlens.diffing import elicited_words
from peftlens.diffing.elicited_words import target_words, template_words
from peftlens.results.table import NotApplicable


def task(name, prompts, labels=()):
    answers = labels or (" one", " two")
    examples = tuple(Example(prompt, answers, n % 2) for n, prompt in enumerate(prompts))
    kind = "classification" if labels else "multiple_choice"
    splits = {"train": examples, "validation": (), "test": ()}
    return Task(name, kind, tuple(labels), splits, {}, f"sha of {name}")


OWN = task("own", ["Dish: the soup Kitchen:", "Dish: bread Kitchen:"], (" sweet", " salty"))
SHIP = task("ship", ["Dish: sail Harbor:", "Dish: mast Harbor:"], (" north", " south"))
TREE = task("tree", ["Leaf: a Forest:", "Leaf: b Forest:"], (" green", " brown"))


def test_a_template_s_words_are_in_every_prompt():
    assert template_words(OWN) == ["Dish", "Kitchen"]


@pytest.fixture(autouse=True)
def no_typical_words(monkeypatch):
    def refuse(*_):
        raise NotApplicable("too few words")

    monkeypatch.setattr(elicited_words, "task_words", refuse)


def test_words_that_several_tasks_have_stand_for_none(smollm2, monkeypatch):
    monkeypatch.setattr(elicited_words, "other_tasks", lambda _: [SHIP, TREE])
    found = target_words(OWN, smollm2)
    assert list(found) == ["stated"]
    assert list(found["stated"]) == ["own", "ship", "tree"]
    words = {
        name: [smollm2.tokenizer.decode([token]) for token in tokens]
        for name, tokens in found["stated"].items()
    }
    assert words["own"] == [" sweet", " salty", " Kitchen"]  # Dish is the other task's, too
    assert words["ship"][:2] == [" north", " south"]
    assert words["tree"][:2] == [" green", " brown"]


def test_without_other_tasks_there_is_nothing_to_compare_with(llama, monkeypatch):
    monkeypatch.setattr(elicited_words, "other_tasks", lambda _: [])
    with pytest.raises(NotApplicable, match="no words of the task are known"):
        target_words(OWN, llama)
