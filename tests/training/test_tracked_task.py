import json

import pandas as pd
import pytest

from peftlens.errors import InputError
from peftlens.training.tracked_task import tracked_task

PAIRS = [{"prompt": f"q{n}:", "chosen": f" {n}", "rejected": " x"} for n in range(10)]
CHATS = [
    {
        "prompt": [{"role": "user", "content": f"q{n}"}],
        "completion": [{"role": "assistant", "content": f"a{n}"}],
    }
    for n in range(10)
]


@pytest.mark.parametrize("make", [list, pd.DataFrame], ids=["list", "frame"])
@pytest.mark.parametrize(("rows", "kind"), [(PAIRS, "preference"), (CHATS, "chat")])
def test_kinds_are_recognized_by_columns(make, rows, kind):
    found = tracked_task(make(rows))
    assert (found.config["kind"], found.task.kind) == (kind, kind)
    assert found.name.startswith("file:")
    # most are scored, since nothing is trained on them
    assert found.results["examples"] == {"train": 3, "validation": 1, "test": 6}
    assert found.results["n_dropped"] == {}


def test_what_the_configuration_says_is_kept(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("prompt;answer\n" + "".join(f"q{n};{n}\n" for n in range(10)))
    split = {"validation": 0.2, "test": 0.2}
    config = {"kind": "generation", "template": "{prompt}", "label": "answer", "separator": ";",
              "split": split}  # fmt: skip
    found = tracked_task(f"file:{file}", config)
    assert found.config == config
    assert found.results["examples"] == {"train": 6, "validation": 2, "test": 2}
    file.write_text("messages;x\n" + "".join(
        f"{json.dumps(row['prompt'] + row['completion'])};1\n" for row in CHATS))  # fmt: skip
    found = tracked_task(f"file:{file}", {"separator": ";", "quotes": False})
    assert found.task.kind == "chat"


def test_dropped_rows_are_counted():
    found = tracked_task([*PAIRS, {"prompt": "q", "chosen": "a", "rejected": "a"}])
    assert found.results["n_dropped"] == {"equal answers": 1}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"prompt": f"q{n}"} for n in range(9)], "have prompts without answers .*completion"),
        ([{"chosen": "a", "rejected": "b"}] * 9, "0 usable examples"),
        ([{"text": f"t{n}"} for n in range(9)], "label"),
        (PAIRS[:2], "2 usable examples and needs at least 3"),
    ],
)
def test_rows_that_can_t_be_used_are_one_line(rows, message):
    with pytest.raises(InputError, match=message) as caught:
        tracked_task(rows)
    assert "\n" not in str(caught.value)
