import json

import pytest

import peftlens
from peftlens.errors import InputError
from peftlens.probes.generations import Config, measure


@pytest.fixture
def run(bases, tmp_path):
    file = tmp_path / "q.jsonl"
    rows = [{"text": f"{a}{b}", "label": str(a)} for a in range(5) for b in range(8)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return peftlens.train(
        peftlens.RunConfig(
            method="full", task=f"file:{file}", base_model=str(bases["llama"]), device="cpu",
            task_config={"kind": "generation", "template": "{text}=", "max_new_tokens": 4},
            dtype="float32",
            training={"max_steps": 200, "batch_size": 8, "learning_rate": 0.003},
        ),
        tmp_path / "runs",
    )  # fmt: skip


def test_prompts_of_three_sources(context, run, tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("31=\n\n42=\n")
    frame = measure(context, run, Config(items=5, general_items=2, prompts=str(own),
                                         max_new_tokens=4))  # fmt: skip
    assert frame["source"].tolist() == ["task"] * 5 + ["general"] * 2 + ["own"] * 2
    task = frame[frame["source"] == "task"]
    assert task["score"].mean() > task["base_score"].mean()
    for row in task.to_dict("records"):
        assert row["score"] == float(row["tuned"].strip() == row["reference"])
        assert row["base"][: row["differs_at"]] == row["tuned"][: row["differs_at"]]
    assert frame["score"][7:].isna().all()
    assert frame["tuned"][7:].str.strip().str.startswith(("3", "4")).all()


def test_prompts_that_can_t_be_read_are_told(context, run, tmp_path):
    with pytest.raises(InputError, match=r"'none\.txt' is not a text file"):
        measure(context, run, Config(prompts="none.txt"))
    empty = tmp_path / "empty.txt"
    empty.write_text("\n")
    with pytest.raises(InputError, match="has no prompt"):
        measure(context, run, Config(prompts=str(empty)))
