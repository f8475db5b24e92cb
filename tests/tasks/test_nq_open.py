from peftlens.tasks import load_task


def test_questions_with_several_right_answers():
    task = load_task("nq_open", {})
    assert sum(len(part) for part in task.splits.values()) == 2500 + 100 + 300
    several = [one for one in task.splits["train"] if len(one.references) > 1]
    assert len(several) > 500
    for example in several:
        assert example.answers == (f" {example.references[0]}",)
        assert len({*example.references}) == len(example.references)
