from peftlens.tasks import load_task


def test_most_answers_stand_in_their_passage():
    task = load_task("disfl_qa", {})
    examples = task.splits["test"]
    answered = [one for one in examples if one.references != ("unknown",)]
    assert 0.2 < 1 - len(answered) / len(examples) < 0.4  # the passage does not say
    inside = [one.references[0].lower() in one.prompt.lower() for one in answered]
    assert sum(inside) / len(inside) > 0.8
    assert task.answers.score == "f1"
