from peftlens.tasks import load_task


def test_questions_with_five_options():
    task = load_task("commonsenseqa", {})
    assert task.kind == "multiple_choice"
    assert {len(e.answers) for part in task.splits.values() for e in part} == {
        5,
        3,  # one row of the source lacks its first two
    }
    assert len(task.splits["test"]) == 955
    example = next(
        e for part in task.splits.values() for e in part if "magazines along side" in e.prompt
    )
    assert example.answers[example.correct] == " bookstore"
    assert sum(task.dropped.values()) == 27
