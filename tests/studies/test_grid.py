import json

import pytest

from peftlens.errors import InputError
from peftlens.runs.config import RunConfig
from peftlens.studies import grid
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


def test_the_inventory_is_enough_to_plan_each_run_again(context, text):
    inventory = json.loads(
        json.dumps(
            grid.inventory(text('dtype = "auto"'), "grid.toml", base_models=context.base_models)
        )
    )
    for run in inventory["runs"]:
        assert plan_run(RunConfig.model_validate(run["config"]), context).id == run["id"]
    assert inventory["dtype"] in ("float32", "bfloat16")
    assert inventory["gpu_bytes"] == []
    by_name = {probe["name"]: probe for probe in inventory["probes"]}
    assert by_name["task_items"]["each_run"]
    assert not by_name["task_accuracy"]["each_run"]
    assert "latency" not in by_name


def test_a_resumed_study_keeps_the_dtype_that_it_began_with(context, text):
    for dtype in ("float32", "bfloat16"):
        found = grid.inventory(
            text('dtype = "auto"'), "", dtypes={"cpu": dtype}, base_models=context.base_models
        )
        assert found["dtype"] == dtype
    found = grid.inventory(text(), "", dtypes={"cpu": "bfloat16"}, base_models=context.base_models)
    assert found["dtype"] == "float32"


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


def test_mistakes_name_the_file(context, text):
    with pytest.raises(InputError, match=r"grid.toml, \[\[runs\]\] at line"):
        grid.plan_study(text().replace("rank = [1, 2]", "rank = [0]"), "grid.toml", context)
