"""Files in the layout of method_comparison, made up here."""

import copy
import json
import random

import finished
import pytest

from peftlens.errors import InputError
from peftlens.results import study_results
from peftlens.results.method_comparison import import_results, questions

RIGHT = {"lora--r32": 636, "lora--r64": 640, "ia3": 500, "bone": 635, "slow": 300}
SIZES = {"lora--r32": 9_000_000, "lora--r64": 18_000_000, "ia3": 200_000, "bone": 12_000_000,
         "slow": 300_000}  # fmt: skip


def experiment(name, right, size, items=1319, **changes):
    metrics = [
        {"step": 250, "valid accuracy": 0.34, "train loss": 0.98},
        {"step": 5000, "valid accuracy": 0.5, "train loss": 0.61},
        {"step": 5000, "test accuracy": right / items, "train loss": 0.61, "forgetting": 0.1},
    ]
    return {
        "run_info": {
            "experiment_name": f"{name.partition('-')[0]}/{name}",
            "train_config": {"model_id": "org/base", "seed": 0, "optimizer_kwargs": {"lr": 1e-4}},
            "peft_config": {"peft_type": name.partition("-")[0].upper(), "r": 32},
            "a new field": {"of": ["a", "later version"]},
        },
        "train_info": {
            "accelerator_memory_max": 22_000_000_000, "train_time": 1800.0, "file_size": 4 * size,
            "num_trainable_params": size, "status": "success", "metrics": metrics,
        } | changes,
        "meta_info": {"model_info": {"sha": "13af"}},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "results"
    source.mkdir()
    for name, right in RIGHT.items():
        write(source, name, experiment(name, right, SIZES[name]))
    return source


@pytest.fixture
def finished_study(tmp_path):
    """A study of ours whose tables were made up."""
    configs = [finished.lora(rank, 0) for rank in (1, 8)]
    return finished.study(tmp_path / "ours", configs)


def write(source, name, content):
    (source / f"{name}.json").write_text(json.dumps(content))


def rows(folder, **options):
    frame = import_results(folder, folder.parent / "study", **options)[0].frame
    return frame.set_index(frame["configuration"].str.partition("/")[2])


def test_accuracies_have_their_exact_interval(folder):
    frame = rows(folder)
    assert (frame["n_items"] == 1319).all()  # found from the fractions
    one = frame.loc["lora--r32"]
    assert one["accuracy"] == 636 / 1319
    # Clopper and Pearson's for 636 of 1,319, by the quantiles of the beta distribution
    assert one["ci_low"] == pytest.approx(0.45490, abs=1e-4)
    assert one["ci_high"] == pytest.approx(0.50955, abs=1e-4)


def test_ties_are_those_that_no_test_tells_from_the_best(folder):
    frame = rows(folder)
    assert set(frame.index[frame["tied"]]) == {"lora--r64", "lora--r32", "bone"}
    assert frame.loc["slow", "q"] < 1e-10


def test_the_front_has_no_smaller_one_that_is_as_accurate(folder):
    frame = rows(folder)
    assert set(frame.index[frame["pareto_optimal"]]) == {"ia3", "lora--r32", "lora--r64"}


def test_unknown_fields_are_kept_and_missing_ones_are_missing(folder):
    broken = experiment("oft", 0, 1, status="canceled", metrics=[], file_size=None)
    del broken["train_info"]["num_trainable_params"]
    write(folder, "oft", broken)
    first, rest = import_results(folder, folder.parent / "study")
    row = first.frame.set_index("outcome").loc["canceled"]
    assert (
        row[["accuracy", "ci_low", "tied", "pareto_optimal", "adapter_bytes", "n_items"]]
        .isna()
        .all()
    )
    found = rest.frame[rest.frame["run"] == row["run"]].set_index("field")["value"]
    assert json.loads(found["run_info.a new field.of.1"]) == "later version"
    assert json.loads(found["run_info.peft_config.r"]) == 32
    taken = {"run_info.experiment_name", "train_info.train_time"}
    assert not taken & {*rest.frame["field"]}


def test_older_names_of_memory_are_known(folder):
    old = experiment("old", 400, 5)
    old["train_info"]["cuda_memory_max"] = old["train_info"].pop("accelerator_memory_max")
    write(folder, "old", old)
    assert rows(folder).loc["old", "peak_memory_bytes"] == 22_000_000_000


def test_full_fine_tuning_has_no_configuration_of_peft(folder):
    whole = experiment("whole", 600, 3_000_000_000)
    whole["run_info"]["peft_config"] = None
    write(folder, "whole", whole)
    assert rows(folder).loc["whole", "method"] == "full"


@pytest.mark.parametrize(
    ("right", "expected"),
    [([636 / 1319, 500 / 1319], 1319), ([0.5, 31 / 200], 200), ([1 / 3 + 1 / 700, 0.5], 2100)],
)
def test_questions_are_counted_from_fractions(right, expected):
    assert questions(right) == expected


@pytest.mark.parametrize("right", [[0.5], [0.5, 0.25], [0.123456789012]])
def test_questions_that_can_not_be_counted_are_asked_for(right):
    with pytest.raises(InputError, match="give --items, such as 1319"):
        questions(right)


def test_items_may_be_told(folder):
    assert (rows(folder, items=2638)["n_items"] == 2638).all()


def test_report_table_and_cite_read_them(folder, run, tmp_path):
    study = tmp_path / "study"
    code, out, _ = run("import-results", folder, "--items", 1319, "--out", study)
    assert code == 0
    assert "5 experiments, 5 with a test accuracy, 3 tied for the best" in out
    code, out, err = run("report", study)
    assert code == 0, err
    page = (study / "report.html").read_text()
    assert "exact binomial 95 % interval" in page
    assert "3 of 5 are on the Pareto front" in page
    for output in ("markdown", "latex", "csv", "html"):
        code, out, err = run("table", study, "--format", output)
        assert code == 0, err
        plain = out.replace("{}", "").replace("\\", "")
        assert "lora/lora--r32" in plain
    assert "**" not in run("table", study)[1]  # nothing is text_shown from every other one
    assert run("cite", study)[0] == 0
    assert study_results.read(study).tables.keys() == {"imported", "imported_rest"}


def test_what_is_exported_comes_back(run, tmp_path, finished_study):
    code, _, err = run("export", finished_study, "--to", "peft-comparison", "--out", tmp_path / "x")
    assert code == 0, err
    first, _ = import_results(tmp_path / "x", tmp_path / "back", items=40)
    own = study_results.read(finished_study)
    items = own.tables["task_items"].frame
    expected = (items["chosen"] == items["correct"]).groupby(items["run"]).mean()
    assert sorted(first.frame["accuracy"]) == pytest.approx(sorted(expected))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not a result of method_comparison"),
        ("[]", "not a result"),
        ("{}", "it has no run_info"),
        ("null", "not a result"),
        ("5", "not a result"),
    ],
)
def test_a_file_that_is_none_is_named(content, message, folder):
    (folder / "other.json").write_text(content)
    with pytest.raises(InputError, match=rf"other\.json is .*{message}"):
        import_results(folder, folder.parent / "study")


def test_an_empty_folder_and_a_study_of_runs_are_refused(folder, tmp_path, finished_study):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no \.json files"):
        import_results(tmp_path / "empty", tmp_path / "study")
    with pytest.raises(InputError, match="holds a study with runs"):
        import_results(folder, finished_study)


def test_equals_are_both_on_the_front(folder):
    write(folder, "twin", experiment("twin", 500, 200_000))
    frame = rows(folder)
    assert frame.loc[["ia3", "twin"], "pareto_optimal"].all()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("num_trainable_params", 1.5, "num_trainable_params=1.5; it must be a whole number"),
        ("num_trainable_params", "many", "num_trainable_params='many'; it must be a number"),
        ("num_trainable_params", 10**30, "it must be a number from 0 to"),
        ("num_trainable_params", -1, "it must be a number from 0"),
        ("file_size", float("inf"), "file_size=inf; it must be a number"),
        ("file_size", True, "file_size=True"),
        ("train_time", [1], "train_time='a list or an object'; it must be a number"),
        ("train_time", 10**400, "train_time=1000"),
    ],
)
def test_values_of_another_type_name_file_and_field(place, value, message, folder):
    write(folder, "bad", experiment("bad", 400, 5, **{place: value}))
    with pytest.raises(InputError, match=rf"bad\.json has train_info\..*{message}"):
        import_results(folder, folder.parent / "study")


@pytest.mark.parametrize("accuracy", ["0.5", float("inf"), 1.5, -0.1, False])
def test_accuracies_are_shares(accuracy, folder):
    bad = experiment("bad", 400, 5)
    bad["train_info"]["metrics"][2]["test accuracy"] = accuracy
    write(folder, "bad", bad)
    with pytest.raises(InputError, match=r"metrics\.2\.test accuracy=.* from 0 to 1"):
        import_results(folder, folder.parent / "study")


def test_a_nan_is_missing_and_kept(folder):
    bad = experiment("nan", 400, 5)
    bad["train_info"]["metrics"][2]["test accuracy"] = float("nan")
    write(folder, "nan", bad)
    first, rest = import_results(folder, folder.parent / "study")
    row = first.frame.set_index("configuration").loc["nan/nan"]
    assert row[["accuracy", "ci_low", "q"]].isna().all()
    values = rest.frame[rest.frame["run"] == row["run"]].set_index("field")["value"]
    assert values["train_info.metrics.2.test accuracy"] == "NaN"


def test_a_copy_of_a_file_is_no_second_experiment(folder):
    (folder / "copy.json").write_bytes((folder / "ia3.json").read_bytes())
    assert len(rows(folder)) == 5


def test_a_whole_number_may_be_written_as_a_float(folder):
    write(folder, "float", experiment("float", 400, 5.0))
    assert rows(folder).loc["float", "trainable_parameters"] == 5


def test_metrics_that_are_no_list_and_deep_objects(folder):
    odd = experiment("odd", 400, 5)
    odd["train_info"]["metrics"] = {"final": {"test accuracy": 0.25}}
    write(folder, "odd", odd)
    assert rows(folder, items=1319).loc["odd", "accuracy"] == 0.25
    (folder / "deep.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(InputError, match=r"deep\.json is not a result"):
        import_results(folder, folder.parent / "study")


@pytest.mark.parametrize("items", [-1, 0, 10**12])
def test_a_number_of_items_that_can_not_be(folder, items):
    with pytest.raises(InputError, match="items="):
        import_results(folder, folder.parent / "study", items)


ODD = (None, "text", "", float("inf"), float("nan"), -1, 0, 1.5, 10**30, True, [], {}, [1],
       {"a": 1}, "\ud800", "a\x00b")  # fmt: skip


def test_mutated_files_are_read_or_refused_in_one_line(folder):
    source = random.Random(0)
    whole = experiment("mutant", 400, 5)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(60):
        mutant = copy.deepcopy(whole)
        for _ in range(source.choice([1, 1, 2])):
            mutate(mutant, source)
        write(folder, "mutant", mutant)
        try:
            frame = import_results(folder, folder.parent / "study", 1319)[0].frame
            assert len(frame) == 6
            outcomes["read"] += 1
        except InputError as error:
            assert "\n" not in str(error)
            assert "mutant.json" in str(error)
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 5, outcomes


def mutate(node, source):
    """Replace a value somewhere in a JSON document by an odd one, or remove it."""
    key = source.choice([*node] if isinstance(node, dict) else range(len(node)))
    child = node[key]
    if isinstance(child, (dict, list)) and child and source.random() < 0.85:
        mutate(child, source)
    elif source.random() < 0.15:
        del node[key]
    else:
        node[key] = copy.deepcopy(source.choice(ODD))
