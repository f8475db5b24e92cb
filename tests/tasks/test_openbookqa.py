from peftlens.tasks import load_task


def test_questions_with_4_options():
    task = load_task("openbookqa", {})
    assert task.kind == "multiple_choice"
    assert {len(e.answers) for part in task.splits.values() for e in part} == {4}
    assert len(task.splits["test"]) == 396
    example = next(e for part in task.splits.values() for e in part if "Predators eat" in e.prompt)
    assert example.answers[example.correct] == " bunnies"
    assert sum(task.dropped.values()) == 4
