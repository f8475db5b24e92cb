from peftlens.data.lettered_choice import lettered
from peftlens.data.task import Example


def row(question, options, answer):
    return {"question": question, "options": options, "answer": answer}


def test_options_with_letters_in_one_text():
    rows = [
        row("Which one? ", "\nA. this\nB. that \nC. 1. x", "B. that "),
        row("q", "A. a\nB. a", "A. a"),
        row("q", "A. a\nB. b", "C. c"),
    ]
    assert list(lettered(rows, "{question}\nAnswer:")) == [
        Example("Which one?\nAnswer:", (" this", " that", " 1. x"), 1),
        "equal options",
        "label is not an option",
    ]


def test_an_answer_may_stand_in_a_list_and_without_its_letter():
    (example,) = lettered([row("q", "A. Cannot tell\nB. P. Smith", ["P. Smith"])], "{question}")
    assert example == Example("q", (" Cannot tell", " P. Smith"), 1)
