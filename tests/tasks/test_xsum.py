from peftlens.tasks import load_task


def test_summaries_are_one_sentence_of_a_long_story():
    task = load_task("xsum", {})
    assert task.dropped["empty"] == 1
    for example in task.splits["test"]:
        assert len(example.prompt) > len(example.references[0])
        assert "\n" not in example.references[0]
