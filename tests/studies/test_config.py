"""What a study file may say; its mistakes, with their lines, are in test_study.py."""

from pathlib import Path

import pytest

from peftlens.errors import InputError
from peftlens.studies.config import expand, parse

ANALYSES = Path(__file__).parents[2] / "analyses"
FILES = sorted(file for file in ANALYSES.glob("*.toml") if "[full_scale]" in file.read_text())
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
    text_shown = r"give \[task\] for a study of one task|no: unknown key|a.jsonl is named twice"
    with pytest.raises(InputError, match=text_shown):
        parse(text, "x.toml")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_analysis_is_a_study_of_two_sizes(file):
    small, large = (parse(file.read_text(), str(file), full) for full in (False, True))
    runs, more = (
        sum(len(found) for entry in one.runs for found in expand(one, entry))
        for one in (small, large)
    )
    assert 1 < runs < more
    assert large.training.max_steps >= small.training.max_steps


LARGER = """
name = "two sizes"
seeds = [0]
[task]
name = "bbc_topic"
[training]
max_steps = 10
batch_size = 4
[[runs]]
method = "lora"
[full_scale]
seeds = [0, 1, 2]
[full_scale.training]
max_steps = 1000
[[full_scale.runs]]
method = "lora"
grid = { rank = [1, 2] }
[[full_scale.runs]]
method = "ia3"
"""


def test_a_file_of_two_sizes():
    small, large = parse(LARGER, "x.toml"), parse(LARGER, "x.toml", full=True)
    assert (small.seeds, small.training.max_steps, len(small.runs)) == ((0,), 10, 1)
    assert (large.seeds, large.training.max_steps, len(large.runs)) == ((0, 1, 2), 1000, 2)
    assert large.training.batch_size == 4  # as the smaller one has it
    assert large.task == small.task


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("max_steps = 1000", "stepz = 1000", 14),
        ("max_steps = 10\n", "stepz = 10\n", 7),
        ('method = "ia3"', 'mehtod = "ia3"', 19),
        ("max_steps = 1000", "max_steps = -1000", 14),
    ],
)
def test_mistakes_in_either_are_found_whichever_is_asked_for(old, new, line, full):
    with pytest.raises(InputError, match=f"line {line}: .*{new.split()[0]}"):
        parse(LARGER.replace(old, new), "x.toml", full=full)


def test_a_larger_study_has_to_be_there():
    with pytest.raises(InputError, match=r"has no table \[full_scale\]; leave --full-scale"):
        parse(LARGER.partition("[full_scale]")[0], "x.toml", full=True)


def test_a_table_where_a_list_belongs_is_named():
    text = LARGER.partition("[[full_scale.runs]]")[0] + '[full_scale.runs]\nmethod = "ia3"\n'
    with pytest.raises(InputError, match="runs: Input should be a valid"):
        parse(text, "x.toml")


def test_a_seed_below_zero_is_named_with_its_line():
    with pytest.raises(InputError, match="line 3: seeds.0: Input should be greater than or equal"):
        parse(SEQUENCE.replace("seeds = [0, 1, 2]", "seeds = [-1]"), "x.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "x"\n', "line 2: base: this key is called base_model now"),
        ("[training]\nsteps = 9\n", "line 5: training.steps: this key is called max_steps now"),
        ("[full]\nseeds = [1]\n", "full: this key is called full_scale now"),
    ],
)
def test_a_key_with_an_old_name_says_the_new_one(text, message):
    head, task, runs = 'name = "old"\n', '[task]\nname = "boolq"\n', '[[runs]]\nmethod = "full"\n'
    file = head + task + text + runs if text.startswith("[") else head + text + task + runs
    with pytest.raises(InputError, match=message):
        parse(file, "x.toml")


def test_what_keeps_a_run_is_a_value_of_a_grid():
    text = """
    name = "kept"
    [task]
    name = "boolq"
    [training]
    keep = { kind = "kl" }
    [[runs]]
    method = "lora"
    grid = { keep = [{ kind = "l2sp", weight = 1 }, { kind = "ewc", data = "wiki" }] }
    [[runs]]
    method = "full"
    """
    study = parse(text, "x.toml")
    (l2sp,), (ewc,) = expand(study, study.runs[0])
    assert l2sp.training.keep.model_dump() == {"kind": "l2sp", "weight": 1.0, "data": None}
    assert ewc.training.keep.data == "wiki"
    assert [one[0].training.keep.kind for one in expand(study, study.runs[1])] == ["kl"]


def test_steps_orthogonal_to_earlier_tasks_need_a_sequence():
    kept = SEQUENCE.replace("grid =", 'training = { keep = { kind = "orthogonal" } }\ngrid =')
    study = parse(kept, "x.toml")
    runs = next(expand(study, study.runs[0]))
    assert {run.training.keep.kind for run in runs} == {"orthogonal"}
    head, rest = kept.split("[continual]")
    alone = head + '[task]\nname = "boolq"\n[[runs]]' + rest.split("[[runs]]")[1]
    study = parse(alone, "x.toml")
    with pytest.raises(InputError, match=r"orthogonal projects off earlier tasks.*\[continual\]"):
        list(expand(study, study.runs[0]))
