from peftlens.tasks import load_task


def test_sign_of_the_rating_is_the_class():
    task = load_task("word_sentiment", {"split": {"test": 0.5}})
    found = {e.prompt: e.answers[e.correct] for part in task.splits.values() for e in part}
    assert len(found) > 6900
    assert found["Word: injured\nSentiment:"] == " negative"
    assert found["Word: wonderful\nSentiment:"] == " positive"
    assert task.dropped["not a word"] > 300
