import pytest

from peftlens.data.task import Example, Task
from peftlens.diffing import hard_prompts as module
from peftlens.diffing.hard_prompts import hard_prompts
from peftlens.results.table import NotApplicable


def task(name, prompts, labels):
    examples = tuple(Example(prompt, labels, n % 2) for n, prompt in enumerate(prompts))
    splits = {"train": examples, "validation": (), "test": ()}
    return Task(name, "classification", labels, splits, {}, f"sha of {name}")


OWN = task("own", ["Dish: soup", "Dish: bread"], (" sweet", " salty"))
OTHER = task("other", ["Ship: mast", "Ship: sail"], (" sweet", " north"))


@pytest.fixture
def words(llama, monkeypatch):
    """Typical words of both tasks; a label among them is not listed twice."""
    monkeypatch.setattr(module, "other_tasks", lambda _: [OTHER])
    ids = {
        name: tuple(tuple(llama.tokenizer(one, add_special_tokens=False)["input_ids"])
                    for one in texts)
        for name, texts in {"own": ["sweet", "soup"], "other": ["mast"]}.items()
    }  # fmt: skip
    monkeypatch.setattr(module, "task_words", lambda *_: ids)


def test_texts_are_those_of_both_tasks_without_repeats(llama, words):
    assert words is None
    found = hard_prompts(OWN, llama)
    assert [(one.text, one.kind, one.task) for one in found] == [
        ("", "none", ""),
        ("Answer with one of these words: sweet, salty.\n", "instruction", "own"),
        ("The task: Dish.\n", "instruction", "own"),
        ("sweet\n", "label", "own"),
        ("salty\n", "label", "own"),
        ("soup\n", "word", "own"),
        ("Answer with one of these words: sweet, north.\n", "instruction", "other"),
        ("The task: Ship.\n", "instruction", "other"),
        ("north\n", "label", "other"),
        ("mast\n", "word", "other"),
    ]


def test_a_vocabulary_without_words_leaves_instructions_and_labels(llama, monkeypatch):
    monkeypatch.setattr(module, "other_tasks", lambda _: [OTHER])

    def refuse(*_):
        raise NotApplicable("too few words")

    monkeypatch.setattr(module, "task_words", refuse)
    assert {one.kind for one in hard_prompts(OWN, llama)} == {"none", "instruction", "label"}
