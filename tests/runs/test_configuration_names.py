from types import SimpleNamespace

from peftlens.runs.config import RunConfig
from peftlens.runs.configuration_names import configurations, sweeps


def planned(name, words, depends_on=None, **changes):
    config = {"method": words.split()[0], "task": "bbc_topic"} | changes
    return SimpleNamespace(id=name, configuration=words, depends_on=depends_on or {"data": "x"},
                           config=RunConfig.model_validate(config))  # fmt: skip


def test_configurations_are_told_apart_by_what_differs():
    runs = [
        planned("a", "lora rank=8", method_config={"rank": 8}, seed=0),
        planned("b", "lora rank=8", method_config={"rank": 8}, seed=1),
        planned("c", "lora rank=4", method_config={"rank": 4}, training={"max_steps": 5}),
        planned(
            "d", "lora rank=4", method_config={"rank": 4}, training={"max_steps": 9}, task="boolq"
        ),
        planned("e", "full"),
        planned("f", "full", depends_on={"data": "y"}),
    ]
    names = configurations(runs)
    assert names["a"] == names["b"] == "lora rank=8"
    assert names["c"] == "lora rank=4 task=bbc_topic max_steps=5"
    assert names["d"] == "lora rank=4 task=boolq max_steps=9"
    assert names["e"].startswith("full data=")
    assert names["e"] != names["f"]


def test_equal_configurations_have_one_name_however_they_were_written():
    one = {"alpha": 4, "rank": 8, "options": {"x": 1, "y": 2}}
    other = {"options": {"y": 2, "x": 1}, "rank": 8, "alpha": 4}
    runs = [
        planned("a", "lora rank=8 alpha=4", method_config=one),
        planned("b", "lora alpha=4 rank=8", method_config=other, seed=1),
    ]
    assert configurations(runs) == {"a": "lora rank=8 alpha=4", "b": "lora rank=8 alpha=4"}


def test_names_are_told_apart_by_data_where_the_configurations_are_equal():
    runs = [
        planned("a", "full", depends_on={"data": "x"}),
        planned("b", "full", depends_on={"data": "y"}),
        planned("c", "full", depends_on={"data": "x"}, training={"max_steps": 9}),
    ]
    names = configurations(runs)
    assert names["c"] == "full max_steps=9"
    assert names["a"].startswith("full max_steps=100 data=")
    assert len({*names.values()}) == 3


def test_a_sweep_is_a_configuration_at_all_its_rates():
    runs = [
        planned("a", "lora rank=8 learning_rate=0.1", training={"learning_rate": 0.1}),
        planned("b", "lora rank=8 learning_rate=1e-05", training={"learning_rate": 1e-5}, seed=1),
        planned("c", "lora rank=8", training={"learning_rate": 0.002}),  # the method's own
        planned("d", "lora rank=8 learning_rate=0.1",
                training={"learning_rate": 0.1, "max_steps": 9}),
    ]  # fmt: skip
    names = sweeps(runs)
    assert names["a"] == names["b"] == names["c"] == "lora rank=8 max_steps=100"
    assert names["d"] == "lora rank=8 max_steps=9"
    assert configurations(runs)["b"] == "lora rank=8 learning_rate=1e-05"


def test_a_sweep_leaves_out_its_rate_wherever_the_grid_has_it():
    runs = [
        planned("a", f"lora learning_rate={rate} canaries=1,5", method_config={"rank": 8},
                training={"learning_rate": rate, "canaries": [1, 5]})
        for rate in (0.1, 0.01)
    ]  # fmt: skip
    assert {*sweeps(runs).values()} == {"lora canaries=1,5"}
    assert sweeps(runs[1:]) == {"a": "lora canaries=1,5"}


def test_adapters_of_other_programs_are_no_configuration_together():
    runs = [planned(name, f"LORA {name}", depends_on={}, task="unknown") for name in ("a", "b")]
    assert configurations(runs) == {"a": "LORA a", "b": "LORA b"}


def chain(seed, rates=(1e-3, 1e-3)):
    """Three runs of a seed: alone on the second task, and on the second after the first."""
    before, after = (
        {"task": task, "seed": seed, "training": {"learning_rate": rate}}
        for task, rate in zip(("words", "topics"), rates, strict=True)
    )
    last = after | {"continue_from": f"first {seed}"}
    return [
        planned(f"{name} {seed}", "lora rank=8", **changes)
        for name, changes in (("first", before), ("alone", after), ("last", last))
    ]


def test_a_run_that_goes_on_is_named_by_the_tasks_before_it_and_not_by_a_run():
    names = configurations([*chain(0), *chain(1)])
    assert {names[f"first {seed}"] for seed in (0, 1)} == {"lora rank=8 task=words"}
    assert {names[f"alone {seed}"] for seed in (0, 1)} == {"lora rank=8 task=topics"}
    assert {names[f"last {seed}"] for seed in (0, 1)} == {"lora rank=8 task=topics after=words"}


def test_what_came_before_tells_configurations_apart():
    names = configurations([*chain(0), *chain(1, rates=(1e-4, 1e-3))])
    assert names["last 0"] != names["last 1"]
    assert names["alone 0"] == names["alone 1"]


def test_a_run_before_that_is_not_among_them_is_named_by_its_id():
    _, alone, last = chain(0)
    names = configurations([alone, last])
    assert names == {alone.id: "lora rank=8", last.id: "lora rank=8 after=first 0"}


def test_runs_of_one_seed_that_go_on_from_other_seeds_are_told_apart():
    (first, _, last), (other, _, again) = chain(0), chain(1)
    again.config = again.config.model_copy(update={"seed": 0})
    names = configurations([first, last, other, again])
    assert names["last 0"].endswith("task=topics after=words continue_from=first 0")
    assert names["last 1"].endswith("task=topics after=words continue_from=first 1")
