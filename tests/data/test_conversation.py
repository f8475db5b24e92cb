import json

import numpy as np
import pytest

from peftlens.data.conversation import conversation, layout_of, require_layout
from peftlens.errors import InputError

USER = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}
SHAREGPT = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]


@pytest.mark.parametrize(
    ("row", "layout", "messages"),
    [
        ({"messages": [USER, ANSWER]}, "messages", [USER, ANSWER]),
        ({"messages": json.dumps([USER, ANSWER])}, "messages", [USER, ANSWER]),
        ({"messages": np.array([USER, ANSWER], dtype=object)}, "messages", [USER, ANSWER]),
        ({"conversations": SHAREGPT}, "sharegpt", [USER, ANSWER]),
        (
            {"conversations": SHAREGPT, "system": "Be kind"},
            "sharegpt",
            [{"role": "system", "content": "Be kind"}, USER, ANSWER],
        ),
        ({"conversation": [USER, ANSWER]}, "sharegpt", [USER, ANSWER]),
        ({"instruction": "Hi", "output": "Hello"}, "alpaca", [USER, ANSWER]),
        ({"instruction": "Hi", "input": " ", "output": "Hello"}, "alpaca", [USER, ANSWER]),
        (
            {"instruction": "Sum", "input": "1 2", "output": "3"},
            "alpaca",
            [{"role": "user", "content": "Sum\n\n1 2"}, {"role": "assistant", "content": "3"}],
        ),
        ({"prompt": "Hi", "completion": "Hello"}, "prompt_completion", [USER, ANSWER]),
        ({"prompt": [USER], "completion": [ANSWER]}, "prompt_completion", [USER, ANSWER]),
        # a text that looks like a list stays a text
        (
            {"prompt": "[1, 2]", "completion": "3"},
            "prompt_completion",
            [{"role": "user", "content": "[1, 2]"}, {"role": "assistant", "content": "3"}],
        ),
        # what follows the last answer trains nothing
        ({"messages": [USER, ANSWER, USER]}, "messages", [USER, ANSWER]),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, ANSWER]},
            "messages",
            [USER, ANSWER],
        ),
    ],
)
def test_the_four_layouts(row, layout, messages):
    assert layout_of([*row]) == layout
    found = conversation(row, layout)
    assert list(found.messages) == messages
    assert found.assistant_turns == (len(messages) - 1,)


def test_tools_and_their_calls_pass_through():
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
    result = {"role": "tool", "content": "7", "name": "f"}
    row = {"messages": [USER, call, result, ANSWER], "tools": json.dumps([{"name": "f"}])}
    found = conversation(row, "messages")
    assert found.tools == ({"name": "f"},)
    assert found.messages[1] == call | {"content": ""}
    assert found.messages[2] == result
    assert found.assistant_turns == (1, 3)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [USER]}, "no message of the assistant"),
        ({"messages": []}, "messages is not a list of messages"),
        ({"messages": None}, "messages is not a list of messages"),
        ({"messages": "Hi"}, "messages is not a list of messages"),
        ({"messages": ["Hi"]}, "a message is not an object"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "a message has no text"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "a message is empty"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "unknown role 'narrator'"),
        ({"messages": [USER, {"role": "assistant", "content": [{"image": "x"}]}]},
         "a message has no text"),
        ({"instruction": "Hi", "output": None}, "output is missing"),
        ({"instruction": "", "output": "x"}, "instruction is empty"),
        ({"prompt": "Hi", "completion": "\ud800"}, "completion is not valid Unicode"),
        ({"messages": [USER, ANSWER], "tools": "none"}, "tools are not a list"),
    ],
)  # fmt: skip
def test_rows_without_a_conversation_are_counted_by_reason(row, reason):
    assert conversation(row, layout_of([*row])) == reason


def test_columns_without_conversations_are_told():
    assert layout_of(["text", "label"]) is None
    with pytest.raises(InputError, match=r"needs a column `messages`.*it has text, label"):
        require_layout(["text", "label"], "file x")
