import json
import os
import shutil

import finished
import homes
import pytest

from peftlens.errors import InputError
from peftlens.export.experiment_run import experiment_runs, tracker
from peftlens.results import study_results
from peftlens.runs import store


@pytest.fixture
def folder(tmp_path):
    configs = [finished.lora(8, seed) for seed in (0, 1)]
    return finished.study(tmp_path / "study", configs, name="My study")


def test_a_run_in_the_words_of_trackers(folder):
    os.utime(folder / "runs" / f"{1:012x}" / "run.json", (1000.0, 1000.0))
    results = study_results.read(folder)
    first, second = experiment_runs(results)
    assert first.group == second.group == "lora rank=8 learning_rate=0.001"
    assert (first.name, second.name) == (f"{first.group} seed=0", f"{first.group} seed=1")
    assert (first.study, first.method, first.status) == ("My study", "lora", "finished")
    known = {"rank": 8, "learning_rate": 1e-3, "seed": 0, "study": "My study", "max_steps": 40,
             "target_modules": '["query_value"]', "base_model": "smollm2-135m"}  # fmt: skip
    assert first.hyperparameters | known == first.hyperparameters
    # lines of one step are one entry, in the order of the steps
    assert [*first.history] == [0, 10, 20, 30, 40]
    assert first.history[20] == {"loss": 1.0, "tokens": 100}
    assert first.history[40] == {"loss": 0.5, "tokens": 100, "validation_loss": 0.5,
                                 "validation_accuracy": 0.75, "forgetting/wiki": 0.3,
                                 "forgetting/news": 0.1}  # fmt: skip
    items = results.tables["task_items"].frame
    own = items[items["run"] == first.id]
    assert first.results["test_score"] == pytest.approx((own["chosen"] == own["correct"]).mean())
    assert first.results["training_seconds"] == 12.5
    assert first.results["peak_memory_bytes"] == 200_000_000
    assert first.results["trainable_parameters"] == 460_800
    # trained for 12.5 seconds, until its record was written
    assert (second.started, second.time_of(0), second.time_of(20), second.time_of(40)) == (
        987.5, 987.5, 993.75, 1000.0)  # fmt: skip


def test_times_change_with_a_copy_and_the_digest_does_not(folder, tmp_path):
    one = experiment_runs(study_results.read(folder))[0]
    copy = shutil.copytree(folder, tmp_path / "copy", copy_function=shutil.copy)
    os.utime(copy / "runs" / one.id / "run.json", (1000.0, 1000.0))
    again = experiment_runs(study_results.read(copy))[0]
    assert again.started != one.started
    assert again.sha256 == one.sha256
    assert again.sha256 != experiment_runs(study_results.read(folder))[1].sha256


def test_nested_results_and_home_folders(tmp_path):
    config = finished.lora(8, 0).model_copy(update={"task": f"file:{homes.LINUX}/rows.csv"})
    run = finished.run(tmp_path / "runs", config, 0)
    file = run.path / "run.json"
    record = json.loads(file.read_text())
    record["results"] |= {"n_dropped": {"duplicate": 3}, "data_notes": ["two"], "flag": True}
    file.write_text(json.dumps(record))
    (run.path / "digests.json").unlink()
    store.seal(run.path)
    (found,) = experiment_runs(study_results.read(tmp_path / "runs"))
    assert found.study == "runs"
    assert found.results["n_dropped/duplicate"] == 3
    assert not {"data_notes", "flag"} & found.results.keys()
    assert found.hyperparameters["task"] == "file:~/rows.csv"
    assert homes.LINUX not in str(found)


def test_no_run_and_no_package_are_one_line(tmp_path):
    study = finished.study(tmp_path, [])
    with pytest.raises(InputError, match="holds no finished run; train one, or run the study"):
        experiment_runs(study_results.read(study))
    with pytest.raises(InputError, match=r"needs an extra: python -m pip install -e .*\[wandb\]"):
        tracker("no_such_package_at_all", "wandb")
