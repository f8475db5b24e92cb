from peftlens.tasks import load_task


def test_every_headline_once_with_its_folders_topic():
    task = load_task("bbc_topic", {})
    assert task.labels == (" business", " entertainment", " politics", " sports", " tech")
    assert task.dropped == {"duplicate": 129}
    assert {name: len(part) for name, part in task.splits.items()} == {
        "train": 1468, "validation": 209, "test": 419,
    }  # fmt: skip
    found = {e.prompt: e.answers[e.correct] for part in task.splits.values() for e in part}
    assert found["Headline: Claxton hunting first major medal\nTopic:"] == " sports"
    assert found["Headline: Ad sales boost Time Warner profit\nTopic:"] == " business"
