from peftlens.tasks import load_task


def test_questions_with_2_options():
    task = load_task("piqa", {})
    assert task.kind == "multiple_choice"
    assert {len(e.answers) for part in task.splits.values() for e in part} == {2}
    assert len(task.splits["test"]) == 1152
    example = next(e for part in task.splits.values() for e in part if "outdoor pillow" in e.prompt)
    assert example.answers[example.correct] == " Blow into trash bag and tie with rubber band."
    assert sum(task.dropped.values()) == 60
