import pytest

from peftlens.data.preference import preference
from peftlens.data.task import ChatPair, TextPair

USER = {"role": "user", "content": "Hi"}


def said(text):
    return {"role": "assistant", "content": text}


def test_texts():
    row = {"prompt": "Q:", "chosen": "yes", "rejected": " no"}
    assert preference(row, None) == TextPair("Q:", (" yes", " no"), 0)


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
        ({"prompt": "Q", "chosen": [said("a")], "rejected": [said("a")]}, "equal answers"),
        ({"prompt": "Q", "chosen": [{"role": "x", "content": "a"}], "rejected": [said("a")]},
         "unknown role 'x'"),
    ],
)  # fmt: skip
def test_rows_that_can_t_be_used(row, reason):
    assert preference(row, None) == reason
