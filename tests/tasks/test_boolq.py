from peftlens.tasks import load_task


def test_questions_with_both_answers():
    task = load_task("boolq", {})
    assert task.labels == (" no", " yes")
    assert task.dropped["no label"] == 3245
    assert len(task.splits["test"]) == 500
    assert all(e.prompt.endswith("?\nAnswer:") for e in task.splits["test"])
    share = sum(e.correct for e in task.splits["train"]) / len(task.splits["train"])
    assert 0.6 < share < 0.65  # the paper: 62 % of the answers are yes
