from peftlens.evaluation.answer_scores import score
from peftlens.tasks import load_task


def test_problems_with_one_number_as_answer():
    task = load_task("asdiv", {})
    assert task.kind == "generation"
    assert task.answers.score == "number"
    assert task.dropped["the answer is not one number"] == 207
    for part in task.splits.values():
        for example in part:
            (reference,) = example.references
            assert score("number", f"It is {reference}.", example.references) == 1
            assert example.prompt.startswith("Question: ")
            assert example.prompt.endswith("\nAnswer:")


def test_a_task_s_own_score_and_stops():
    task = load_task("asdiv", {"score": "f1", "stop": ["\n", "Q"], "max_new_tokens": 3})
    assert (task.answers.score, task.answers.max_new_tokens) == ("f1", 3)
    assert [*task.answers.stop] == ["\n", "Q"]
