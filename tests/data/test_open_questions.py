from peftlens.data.open_questions import open_questions
from peftlens.data.task import OpenQuestion


def answers(row):
    return tuple(row["answer"]) or "no answer"


def test_the_first_answer_is_trained_and_all_are_right():
    rows = [
        {"question": " who ", "answer": ["I", "me"]},
        {"question": "why", "answer": []},
        {"question": " ", "answer": ["x"]},
    ]
    assert list(open_questions(rows, "{question}?", answers)) == [
        OpenQuestion("who?", (" I",), references=("I", "me")),
        "no answer",
        "empty",
    ]
