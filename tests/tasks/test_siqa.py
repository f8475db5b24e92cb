from peftlens.tasks import load_task


def test_three_options_behind_a_passage_and_a_question():
    task = load_task("siqa", {})
    for example in task.splits["test"]:
        assert len(example.answers) == 3
        assert "\nQuestion: " in example.prompt
    assert sum(map(len, task.splits.values())) == 1954 - 19 - 5 - 10
