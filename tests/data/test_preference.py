import pytest

from peftlens.data.preference import preference
from peftlens.data.task import ChatPair, TextPair

USER = {"role": "user", "content": "Hi"}


def said(text):
    return {"role": "assistant", "content": text}


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "Q:", "chosen": "yes", "rejected": " no"}, ("Q:", " yes", " no")),
        # white space that is there stays as it is, as TRL joins the texts
        ({"prompt": "Q\n", "chosen": "yes", "rejected": "no\n"}, ("Q\n", "yes", "no\n")),
        ({"prompt": "Q", "chosen": "\nyes", "rejected": "\nno"}, ("Q", "\nyes", "\nno")),
        # whole texts, as in hh-rlhf
        ({"chosen": "H: Hi A: Can do.", "rejected": "H: Hi A: Car."},
         ("H: Hi A:", " Can do.", " Car.")),
        ({"prompt": None, "chosen": "The sky is blue", "rejected": "The sky is green"},
         ("The sky is", " blue", " green")),
    ],
)  # fmt: skip
def test_texts(row, expected):
    prompt, *answers = expected
    assert preference(row, None) == TextPair(prompt, tuple(answers), 0)


@pytest.mark.parametrize("texts", [("The sky is blue.", "The sky is green."), ("A: a b", "A: a c")])
def test_a_prompt_in_the_answers_is_that_of_trl(texts):
    from trl.data_utils import extract_prompt

    found = preference({"chosen": texts[0], "rejected": texts[1]}, None)
    expected = extract_prompt({"chosen": texts[0], "rejected": texts[1]})
    assert (found.prompt, *found.answers) == (
        expected["prompt"], expected["chosen"], expected["rejected"])  # fmt: skip


SYSTEM = {"role": "system", "content": "Be kind"}


def test_a_prompt_that_the_conversation_repeats():
    """As in ultrafeedback: the question also stands as a text, and a system message before it."""
    whole = [[SYSTEM, USER, said(text)] for text in ("a", "b")]
    found = preference({"prompt": "Hi ", "chosen": whole[0], "rejected": whole[1]}, None)
    assert (found.messages, found.answers) == ((SYSTEM, USER), ("a", "b"))


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "chosen": [said("a")], "rejected": [said("b")]},
        {"prompt": [USER], "chosen": [said("a")], "rejected": [said("b")]},
        {"prompt": "Hi", "chosen": [USER, said("a")], "rejected": [USER, said("b")]},
        {"chosen": [USER, said("a")], "rejected": [USER, said("b")]},
    ],
)
def test_messages(row):
    found = preference(row, "chatml")
    assert found == ChatPair("user: Hi", ("a", "b"), 0, messages=(USER,), chat_template="chatml")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"prompt": "Q", "chosen": "a", "rejected": "a "}, "equal answers"),
        ({"prompt": "Q", "chosen": "a", "rejected": None}, "rejected is missing"),
        ({"prompt": "", "chosen": "a", "rejected": "b"}, "prompt is empty"),
        ({"prompt": "Q", "chosen": [USER], "rejected": [said("b")]},
         "chosen does not end with the assistant"),
        ({"chosen": [USER, said("a")], "rejected": [said("x"), said("b")]},
         "the answers have different prompts"),
        ({"chosen": [said("a")], "rejected": [said("b")]}, "prompt is missing"),
        ({"chosen": "one", "rejected": "two"},
         "prompt is missing, and the answers have no common beginning"),
        ({"chosen": "one ", "rejected": "one two"},
         "one of the answers is the beginning of the other"),
        ({"prompt": "Q", "chosen": [said("a")], "rejected": "b"},
         "chosen is messages, but rejected is a text"),
        ({"prompt": "Q", "chosen": None, "rejected": [said("b")]},
         "rejected is messages, but chosen is missing"),
        ({"prompt": "Q", "chosen": ["a"], "rejected": ["b"]}, "a message is not an object"),
        ({"prompt": "Bye", "chosen": [USER, said("a")], "rejected": [USER, said("b")]},
         "prompt is not the last message before the answers"),
        ({"prompt": "Q", "chosen": [said("a")], "rejected": [said("a")]}, "equal answers"),
        ({"prompt": "Q", "chosen": [{"role": "x", "content": "a"}], "rejected": [said("a")]},
         "unknown role 'x'"),
    ],
)  # fmt: skip
def test_rows_that_can_t_be_used(row, reason):
    assert preference(row, None) == reason
