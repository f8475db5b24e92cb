import json
from collections import Counter

import pytest

from peftlens import registry
from peftlens.adapters.run_context import RunContext
from peftlens.errors import InputError
from peftlens.models import base_model, base_model_cache
from peftlens.studies import grid
from peftlens.studies.plan import StudyPlan
from peftlens.training import batched_trainer
from peftlens.training.run_plan import plan_run


@pytest.fixture
def text(tiny_study):
    def fill(settings='dtype = "float32"'):
        return tiny_study(
            'method = "frozen"',
            'method = "lora"\ngrid = { rank = [1, 2] }',
            'method = "lora"\nconfig = { rank = 2 }',
            settings=settings,
            training="max_steps = 3\ncheckpoint_steps = [0]",
        )

    return fill


def test_each_run_once(context, text):
    found = grid.plan_study(text(), "grid.toml", context)
    assert list(found.labels.values()) == ["frozen", "lora rank=1", "lora rank=2"]
    assert len({one.id for one in found.plans}) == 3


def test_the_plan_as_json_is_enough_to_plan_each_run_again(context, text):
    found = grid.plan_study(text('dtype = "auto"'), "grid.toml", context)
    plan = StudyPlan.model_validate_json(found.to_plan().model_dump_json())
    assert plan == found.to_plan()
    for run in plan.runs:
        assert plan_run(run.config, context).id == run.id
    assert [run.name for run in plan.runs] == [f"{label} seed=0" for label in found.labels.values()]
    assert plan.dtype in ("float32", "bfloat16")
    assert plan.bytes_per_run == found.bytes_per_run
    assert plan.gpu_bytes == ()
    by_name = {probe.name: probe for probe in plan.probes}
    assert by_name["task_items"].each_run
    assert not by_name["task_accuracy"].each_run
    assert "latency" not in by_name


@pytest.mark.parametrize(("base", "expected"), [("llama", False), ("bert", True)])
def test_linear_probes_are_measured_by_default_where_no_text_is_predicted(
    context, text, bases, encoders, base, expected
):
    file = text().replace(str(bases["llama"]), str((bases | encoders)[base]))
    assert ("linear_probes" in grid.plan_study(file, "grid.toml", context).probes) is expected


def test_twice_the_runs_read_the_base_and_the_packages_no_more_often(text, monkeypatch):
    calls = Counter()

    def count(module, name):
        original = getattr(module, name)

        def counted(*arguments, **options):
            calls[name] += 1
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, counted)

    count(registry, "entry_points")
    count(base_model_cache, "base_kind")
    count(base_model, "shapes")
    count(batched_trainer, "_has_independent_rows")
    counts = []
    for ranks in ("[1, 2]", "[1, 2, 3, 4]"):
        registry._modules_in.cache_clear()
        calls.clear()
        found = grid.plan_study(text().replace("[1, 2]", ranks), "", RunContext())
        found.to_plan()
        counts.append((len(found.plans), dict(calls)))
    assert [runs for runs, _ in counts] == [3, 5]
    assert counts[0][1] == counts[1][1]
    assert counts[0][1].keys() == {
        "entry_points", "base_kind", "shapes", "_has_independent_rows"
    }  # fmt: skip
    assert len({id(one.shapes) for one in found.plans}) == 1  # not a copy for each run


def test_a_resumed_study_keeps_the_dtype_that_it_began_with(context, text):
    for dtype in ("float32", "bfloat16"):
        found = grid.plan_study(text('dtype = "auto"'), "", context, dtypes={"cpu": dtype})
        assert found.to_plan().dtype == dtype
    found = grid.plan_study(text(), "", context, dtypes={"cpu": "bfloat16"})
    assert found.to_plan().dtype == "float32"


def test_memory_and_disk_of_its_runs(context, text):
    found = grid.plan_study(text(), "grid.toml", context)
    trained = [
        one.method.trainable_parameters(one.method_config, one.shapes) for one in found.plans
    ]
    assert trained[0] == 0
    # the adapter and the checkpoint before the first step, 4 bytes a number
    assert found.bytes_on_disk == 2 * 4 * (trained[1] + trained[2])
    base = found.plans[0].base.model.get_memory_footprint()
    assert found.bytes_per_run == base + 16 * trained[2] + 1_500_000_000


def test_a_task_s_head_is_not_counted_as_one_of_the_vocabulary(context, encoders, words):
    text = f"""
name = "head"
base_model = "{encoders["bert"]}"
device = "cpu"
[task]
name = "file:{words}"
[[runs]]
method = "head"
"""
    assert grid.plan_study(text, "head.toml", context).bytes_on_disk == 0


def test_mistakes_name_the_file(context, text):
    with pytest.raises(InputError, match="grid.toml, line"):
        grid.plan_study(text().replace("rank = [1, 2]", "rank = [0]"), "grid.toml", context)


@pytest.mark.parametrize(
    ("base", "second", "message"),
    [
        ("bert", 'kind = "regression", label = "n"', "is a regression, and a sequence compares"),
        ("llama", 'head = "classification"', "has a head, unlike .* give all tasks of a sequence"),
    ],
)
def test_a_sequence_of_different_kinds(context, encoders, bases, tmp_path, base, second, message):
    for name in ("one", "two"):
        rows = [{"text": f"{name} {n}", "label": "ab"[n % 2], "n": n} for n in range(12)]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(lines)
    text = f"""
name = "kinds"
base_model = "{(encoders | bases)[base]}"
device = "cpu"
dtype = "float32"
[continual]
tasks = [
  {{ name = "file:{tmp_path}/one.jsonl" }},
  {{ name = "file:{tmp_path}/two.jsonl", {second} }},
]
[[runs]]
method = "lora"
"""
    with pytest.raises(InputError, match=message):
        grid.plan_study(text, "kinds.toml", context)
