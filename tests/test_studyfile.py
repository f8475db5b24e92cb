"""What a study file may say; its mistakes, with their lines, are in test_study.py."""

from pathlib import Path

import pytest

from peftlens.errors import BadInput
from peftlens.studyfile import expand, parse

ANALYSES = Path(__file__).parent.parent / "analyses"
SEQUENCE = """
name = "sequence"
seeds = [0, 1, 2]

[continual]
order = "by_seed"
tasks = [
  { name = "file:a.jsonl" },
  { name = "file:b.jsonl", template = "{text}" },
  { name = "boolq" },
]

[[runs]]
method = "lora"
grid = { rank = [2, 4], learning_rate = [1e-3] }
"""


def test_a_grid_is_every_combination_with_every_seed_and_task():
    parsed = parse(SEQUENCE, "x.toml")
    found = list(expand(parsed, parsed.runs[0]))
    assert [[run.seed for run in runs] for runs in found] == [[seed] * 3 for seed in (0, 1, 2)] * 2
    for runs in found:
        assert {run.task for run in runs} == {"file:a.jsonl", "file:b.jsonl", "boolq"}
        assert {run.training.learning_rate for run in runs} == {1e-3}
        (b,) = [run for run in runs if run.task == "file:b.jsonl"]
        assert b.task_config == {"template": "{text}"}
    assert [runs[0].method_config["rank"] for runs in found] == [2] * 3 + [4] * 3


def test_seeds_draw_the_order_of_the_tasks():
    parsed = parse(SEQUENCE, "x.toml")
    orders = [tuple(run.task for run in runs) for runs in expand(parsed, parsed.runs[0])]
    assert orders[:3] == orders[3:]
    assert len(set(orders)) > 1
    given = parse(SEQUENCE.replace("by_seed", "given"), "x.toml")
    assert {tuple(run.task for run in runs) for runs in expand(given, given.runs[0])} == {
        ("file:a.jsonl", "file:b.jsonl", "boolq")
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [("[continual]", '[task]\nname = "boolq"\n[continual]'), ("[continual]", "[no]")],
)
def test_a_study_has_one_task_or_a_sequence(old, new):
    text = SEQUENCE.replace(old, new)
    told = r"give \[task\] for a study of one task|no: Extra inputs|a.jsonl is named twice"
    with pytest.raises(BadInput, match=told):
        parse(text, "x.toml")


@pytest.mark.parametrize("file", sorted(ANALYSES.glob("*.toml")), ids=lambda file: file.stem)
def test_every_analysis_is_a_study(file):
    parsed = parse(file.read_text(), str(file))
    assert sum(len(runs) for entry in parsed.runs for runs in expand(parsed, entry)) > 1
    assert file.read_text().startswith("# ")  # what it asks, what it costs, what it can't say
