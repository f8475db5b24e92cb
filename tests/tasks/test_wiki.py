from peftlens.tasks import load_task


def test_lines_are_texts_without_prompt():
    task = load_task("wiki", {})
    assert task.kind == "language_modeling"
    assert task.labels == ()
    assert sum(map(len, task.splits.values())) + task.dropped.get("duplicate", 0) == 1000
    assert all(not e.prompt and len(e.answers) == 1 for e in task.splits["test"])
