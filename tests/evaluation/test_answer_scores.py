from fractions import Fraction

import pytest

from peftlens.errors import InputError
from peftlens.evaluation import answer_scores
from peftlens.evaluation.answer_scores import last_number, normalized, score


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", []),
        ("none at all", []),
        ("It costs 1,234.50 dollars.", ["1234.5"]),
        ("3 apples and 4 pears make 7", ["7"]),
        ("so 7. #### 12\n", ["12"]),
        ("12 #### x 5 #### 8", ["8"]),
        ("-5", ["-5"]),
        ("−5 degrees", ["-5"]),
        ("10-3", ["3"]),  # a range or a difference: the sign is not the number's
        ("$ 5", ["5"]),
        ("$1,000", ["1000"]),
        ("-$20", ["-20"]),
        ("50%", ["50", "0.5"]),
        ("12.5 %", ["12.5", "0.125"]),
        ("3/4", ["3/4"]),
        ("1 1/2 cups", ["3/2"]),
        ("-1 1/2", ["-3/2"]),
        (".5", ["1/2"]),
        ("1e3", ["1000"]),
        ("The answer is 42.", ["42"]),
        ("room B12", []),
        ("1/0", []),
        ("x=6", ["6"]),
        ("5,000,000 people", ["5000000"]),
        ("(18)", ["18"]),
    ],
)
def test_last_number(text, values):
    assert list(last_number(text)) == [Fraction(value) for value in values]


@pytest.mark.parametrize(
    ("name", "answer", "references", "value"),
    [
        ("exact_match", "The  Eiffel Tower!", ["eiffel tower"], 1),
        ("exact_match", "Eiffel", ["Eiffel Tower", "eiffel."], 1),
        ("exact_match", "", ["x"], 0),
        ("f1", "the cat sat", ["a cat sat down"], 0.8),  # 2 common of 2 and 3: 2*2/5
        ("f1", "", [""], 1),
        ("f1", "", ["x"], 0),
        ("f1", "cat cat", ["cat"], 2 / 3),
        ("number", "it is 1,000", ["#### 1000"], 1),
        ("number", "0.333333333", ["1/3"], 1),
        ("number", "0.3333", ["1/3"], 0),
        ("number", "50%", ["0.5"], 1),
        ("number", "50%", ["50"], 1),
        ("number", "no idea", ["0"], 0),
    ],
)
def test_scores(name, answer, references, value):
    assert score(name, answer, references) == pytest.approx(value)


def test_normalization_is_that_of_squad():
    """As in the published script: lower, punctuation, articles, spaces."""
    assert normalized("An  Apple-a-day, the DOCTOR's") == "appleaday doctors"


def test_overlap_scores_are_those_of_their_packages():
    import sacrebleu
    from rouge_score import rouge_scorer as rouge

    one, other = "The cats are sitting on the mat", "the cat sat on a mat"
    for kind in ("rouge1", "rouge2", "rougeL"):
        told = rouge.RougeScorer([kind], use_stemmer=True).score(other, one)[kind].fmeasure
        assert score(kind, one, [other]) == pytest.approx(told)
    assert score("rouge1", one, [other]) == pytest.approx(2 * 4 / (7 + 6))  # the cat on mat
    assert score("bleu", one, [other]) == sacrebleu.sentence_bleu(one, [other]).score / 100
    assert score("chrf", one, [other]) == sacrebleu.sentence_chrf(one, [other]).score / 100
    assert score("chrf", one, ["x", one]) == pytest.approx(1)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sacrebleu", None)
    with pytest.raises(InputError, match=r"'sacrebleu': python -m pip install -e .*\[scores\]"):
        score("chrf", "a", ["a"])
    with pytest.raises(InputError, match="no score named 'accuracy'; choose from exact_match"):
        score("accuracy", "a", ["a"])
    assert {"exact_match", "f1", "number"} <= {*answer_scores.SCORES}
